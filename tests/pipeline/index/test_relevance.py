"""Relevant pairs, and samples of them, against a loop over every pair."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.index.relevance import find_relevance, sample_pairs
from tests.helpers.naive_ranking import Case, cases


@settings(deadline=None)
@given(cases(), st.integers(0, 5))
def test_pairs_are_those_that_share_a_label(case: Case, start: int) -> None:
    relevance = find_relevance(case.labels, case.is_query, case.is_gallery)
    start = min(start, len(case.queries))
    pairs = relevance.pairs(start, len(case.queries))
    found = [
        (q, case.gallery[row], gain)
        for q, query in enumerate(case.queries[start:])
        for row, gain in zip(
            pairs.rows[pairs.starts[q] : pairs.starts[q + 1]],
            pairs.gains[pairs.starts[q] : pairs.starts[q + 1]],
            strict=True,
        )
    ]
    assert found == [
        (q, g, case.shared(query, g))
        for q, query in enumerate(case.queries[start:])
        for g in case.gallery
        if g != query and case.shared(query, g)
    ]


@settings(deadline=None)
@given(cases(), st.data())
def test_the_pairs_of_some_queries_are_taken_in_their_order(
    case: Case, data: st.DataObject
) -> None:
    all_images = np.ones(len(case.lists), dtype=bool)
    pairs = find_relevance(case.labels, all_images, all_images).pairs(0, len(case.lists))
    some = np.array(data.draw(st.lists(st.sampled_from(range(len(case.lists))))), dtype=np.int64)
    subset = pairs.take(some)
    for place, q in enumerate(some):
        after = slice(subset.starts[place], subset.starts[place + 1])
        before = slice(pairs.starts[q], pairs.starts[q + 1])
        assert subset.rows[after].tolist() == pairs.rows[before].tolist()
        assert subset.gains[after].tolist() == pairs.gains[before].tolist()


@settings(deadline=None)
@given(cases(), st.integers(1, 6), st.integers(0, 5))
def test_samples_are_of_their_kind_and_distinct_as_long_as_there_are_enough(
    case: Case, n: int, seed: int
) -> None:
    relevance = find_relevance(case.labels, case.is_query, case.is_gallery)
    pairs = relevance.pairs(0, len(case.queries))
    uniforms = np.random.default_rng(seed).random((len(case.queries), n, 2))
    sampled = sample_pairs(pairs, relevance.own_rows, len(case.gallery), uniforms=uniforms)
    for q, query in enumerate(case.queries):
        ranking = case.ranking(query)
        for kind in (0, 1):
            wanted = {g for g in ranking if (case.shared(query, g) > 0) == (kind == 0)}
            rows = sampled[kind, q].tolist()
            if not wanted:
                assert rows == [-1] * n
                continue
            images = [case.gallery[row] for row in rows]
            assert set(images) <= wanted
            assert len(set(images)) == min(n, len(wanted))


def test_samples_are_even() -> None:
    # Image 0 is the query; 1, 3, 5 are relevant; 2, 4, 6 are not. 20,000 samples of one and of two.
    labels = Case(np.ones((7, 4)), [[i % 2] for i in range(7)], *[np.ones(7, bool)] * 2, "cosine")
    labels.lists[0] = [1]
    relevance = find_relevance(labels.labels, labels.is_query, labels.is_gallery)
    pairs = relevance.pairs(0, 1).take(np.zeros(20_000, dtype=np.int64))
    for n in (1, 2):
        uniforms = np.random.default_rng(0).random((20_000, n, 2))
        sampled = sample_pairs(pairs, np.zeros(20_000, dtype=np.int64), 7, uniforms=uniforms)
        for kind, rows in ((0, [1, 3, 5]), (1, [2, 4, 6])):
            counts = np.bincount(sampled[kind].ravel(), minlength=7)
            assert counts[rows].sum() == 20_000 * n
            # Five standard deviations of a binomial count.
            assert np.abs(counts[rows] / n - 20_000 / 3).max() < 5 * np.sqrt(20_000 * 2 / 9)
