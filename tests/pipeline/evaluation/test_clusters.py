"""Clusters of queries: sums over related pairs against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.clusters import cluster_by_labels, cluster_by_unit

label_sets = st.lists(st.frozensets(st.integers(0, 6), min_size=1, max_size=4), min_size=1)


@given(label_sets, st.integers(0, 99))
def test_sums_over_related_pairs_equal_plain_loops(known: list[frozenset[int]], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(known), 2))
    clusters = cluster_by_labels(known)
    slow = np.zeros(2)
    for a, x in zip(known, values, strict=True):
        for b, y in zip(known, values, strict=True):
            if a & b:
                slow += x * y
    assert clusters.sum_over_related_pairs(clusters.sum_by_set(values)) == pytest.approx(slow)
    assert clusters.unit_count == len(frozenset.union(*known))


def test_a_query_is_divided_equally_among_its_labels() -> None:
    clusters = cluster_by_labels([("a",), ("b", "a"), ("a", "b"), ("b",)])
    of_sets = clusters.sum_by_set(np.array([[1.0], [2], [4], [8]]))
    assert of_sets[:, 0].tolist() == [1, 6, 8]
    assert clusters.divide_among_units(of_sets)[:, 0].tolist() == [4, 11]
    assert not clusters.is_partition


def test_queries_with_one_unit_each_are_a_partition() -> None:
    clusters = cluster_by_unit(np.array([0, 1, 0]))
    assert (clusters.unit_count, clusters.is_partition) == (2, True)
    assert clusters.sum_over_related_pairs(clusters.sum_by_set(np.ones((3, 1)))).tolist() == [5]


def test_queries_without_a_label_form_one_unit() -> None:
    clusters = cluster_by_labels([(), ("a",), ()])
    assert (clusters.unit_count, clusters.sets.tolist()) == (2, [0, 1, 0])
