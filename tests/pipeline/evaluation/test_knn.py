"""kNN accuracy over k and distance against a plain vote, and the choice of k."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.label_sets import from_lists
from pipeline.data.tables import KNN, read_table, write_table
from pipeline.errors import UserError
from pipeline.evaluation.knn import (
    Accuracies,
    choose_k,
    measure_knn,
    measure_validation_knn,
    tabulate_knn,
)
from pipeline.evaluation.measure import measure
from pipeline.evaluation.retrieval_task import AS_EMBEDDED, Searched
from pipeline.index import query_blocks
from tests.helpers.naive_ranking import Case, cases, vote

pytestmark = pytest.mark.slow


def accuracies(case: Case, *, k: Sequence[int]) -> Accuracies:
    searched = Searched(rerank=case.neighbors) if case.neighbors else AS_EMBEDDED
    roles = case.is_query, case.is_gallery
    return measure_knn(case.vectors, case.labels, *roles, k=k, searched=searched)


def find_max_k(case: Case) -> int:
    return len(case.gallery) - any(query in case.gallery for query in case.queries)


@settings(deadline=None)
@given(cases(), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.sampled_from([0, 2, 5]))
def test_each_accuracy_is_the_share_of_correct_votes(
    case: Case, ks: list[int], neighbors: int
) -> None:
    case.neighbors = neighbors
    counted = [query for query in case.queries if case.hits(query)]
    allowed = sorted({k for k in ks if k <= find_max_k(case)})
    assume(counted and allowed)
    found = accuracies(case, k=ks)
    assert list(found) == ["cosine", "euclidean"]
    for distance, of_k in found.items():
        same_case = replace(case, distance=distance)
        assert list(of_k) == allowed
        for k, accuracy in of_k.items():
            correct = [vote(same_case, query, k) for query in counted]
            assert accuracy == pytest.approx(sum(correct) / len(correct), abs=1e-12)


@settings(deadline=None)
@given(cases())
def test_measure_gives_the_same_accuracy(case: Case) -> None:
    assume(any(case.hits(query) for query in case.queries) and find_max_k(case) > 2)
    options = {"k": [1], "distance": case.distance, "knn": 3}
    metrics = measure(case.vectors, case.labels, case.is_query, case.is_gallery, **options)
    found = accuracies(case, k=[1, 3])[case.distance][3]
    assert found == pytest.approx(metrics.means["knn_accuracy"], abs=1e-12)


@settings(deadline=None)
@given(cases())
def test_blocks_of_one_query_give_the_same(case: Case) -> None:
    assume(any(case.hits(query) for query in case.queries) and find_max_k(case) > 2)
    whole = accuracies(case, k=[1, 3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_blocks, "MIN_QUERIES", 1)
        patch.setattr(query_blocks, "MAX_QUERIES", 1)
        assert accuracies(case, k=[1, 3]) == whole


def test_of_tied_classes_the_one_with_the_nearest_image_wins() -> None:
    # From 0, by distance: class 7, 8, 8, 7. Of two the nearest wins, of three 8, of four 7.
    line = np.array([[0], [1], [2], [3], [4]], np.float32)
    is_query = np.array([True, False, False, False, False])
    case = Case(line, [[7], [7], [8], [8], [7]], is_query, ~is_query, "euclidean")
    assert accuracies(case, k=[1, 2, 3, 4])["euclidean"] == {1: 1, 2: 1, 3: 0, 4: 1}


def test_of_classes_with_the_same_voters_each_counts_equally_whatever_its_number() -> None:
    line = np.array([[0], [1], [2]], np.float32)
    is_query = np.array([True, False, False])
    for lists in ([[7], [7, 8], [5]], [[8], [8, 7], [5]], [[7], [5, 6, 7, 8], [9]]):
        case = Case(line, lists, is_query, ~is_query, "euclidean")
        assert accuracies(case, k=[1])["euclidean"][1] == 1 / len(lists[1])


def test_the_two_distances_differ_if_lengths_differ() -> None:
    # The image of the query's class is in its direction but far; the other image is near.
    vectors = np.array([[1, 0], [9, 0], [1, 1]], np.float32)
    is_query = np.array([True, False, False])
    case = Case(vectors, [[0], [0], [1]], is_query, ~is_query, "cosine")
    assert accuracies(case, k=[1]) == {"cosine": {1: 1}, "euclidean": {1: 0}}


def test_both_distances_give_the_same_accuracy_for_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    all_images = np.ones(80, dtype=bool)
    case = Case(vectors, [[i % 4] for i in range(80)], all_images, all_images, "cosine")
    twice = replace(case, vectors=vectors * 2)  # not of unit length, so each distance is ranked
    assert accuracies(case, k=[1, 3, 9]) == accuracies(twice, k=[1, 3, 9])


# Two groups of images on a line, far from each other. In validation the nearest image is wrong and
# the vote of three is correct; in test the nearest is correct and the vote of three is wrong.
VAL = [(0, 0), (1, 1), (2, 0), (3, 0)]  # position, class
TEST = [(100, 2), (101, 2), (102, 3), (103, 3)]
VECTORS = np.array([[position] for position, _ in VAL + TEST], np.float32)
LABELS = from_lists([[label] for _, label in VAL + TEST])


def mask(*rows: int) -> np.ndarray:
    return np.isin(np.arange(len(VECTORS)), rows)


def test_the_k_is_chosen_validation_and_not_on_test(tmp_path: Path) -> None:
    # One query in validation and one in test; the other images of VAL are training images.
    split = np.array(["val", *["train"] * 3, *["test"] * 4], dtype=object)
    gallery = mask(1, 2, 3, 5, 6, 7)
    val = measure_validation_knn(VECTORS, LABELS, split, gallery, k=[3, 1])
    test = measure_knn(VECTORS, LABELS, mask(4), mask(5, 6, 7), k=[3, 1])
    assert val["euclidean"] == {1: 0, 3: 1}
    assert test["euclidean"] == {1: 1, 3: 0}
    assert choose_k(val["euclidean"]) == 3
    write_table(tabulate_knn(val, test), tmp_path / "knn.parquet", KNN)
    rows = read_table(tmp_path / "knn.parquet", KNN).to_pylist()
    assert [tuple(row.values()) for row in rows if row["distance"] == "euclidean"] == [
        ("euclidean", 1, 0, 1, False),
        ("euclidean", 3, 1, 0, True),
    ]


def test_of_equal_k_the_smallest_is_chosen() -> None:
    assert choose_k({1: 0.25, 5: 0.5, 3: 0.5, 10: 0.5}) == 3


VAL_AND_TEST = np.array([*["val"] * 4, *["test"] * 4], dtype=object)
IS_TEST = mask(4, 5, 6, 7)


def test_a_k_larger_than_the_validation_gallery_is_skipped() -> None:
    val = measure_validation_knn(VECTORS, LABELS, VAL_AND_TEST, IS_TEST, k=[1, 3, 4])
    assert list(val["cosine"]) == [1, 3]
    test = {"cosine": {1: 0.1, 3: 0.2, 4: 0.9}}
    rows = tabulate_knn({"cosine": {1: 0.5, 3: 0.6}}, test).to_pylist()
    assert [(row["k"], row["val_accuracy"], row["chosen"]) for row in rows] == [
        (1, 0.5, False),
        (3, 0.6, True),
        (4, None, False),
    ]


def error_of(split: Sequence[str], k: Sequence[int]) -> str:
    with pytest.raises(UserError) as caught:
        measure_validation_knn(VECTORS, LABELS, np.array(split, dtype=object), IS_TEST, k=k)
    return str(caught.value)


def test_a_validation_gallery_too_small_for_every_k_is_refused() -> None:
    assert error_of(VAL_AND_TEST, [10, 5]) == (
        "evaluate.knn: found [10, 5], of which validation chooses; its images find 3 others; "
        "allowed: at least one of 1 to 3; add a smaller one, or change split.val_by or "
        "split.val_fraction"
    )


@pytest.mark.parametrize(("val", "found"), [([], 0), ([0], 1), ([0, 1], 2)])
def test_validation_without_a_relevant_image_is_refused(val: list[int], found: int) -> None:
    split = ["val" if row in val else "train" if row < 4 else "test" for row in range(8)]
    assert error_of(split, [1]) == (
        f"splits: found {found} validation images, none with another of its class to find, so "
        "evaluate.knn cannot be chosen; allowed: one or more that has; change split.val_by or "
        "split.val_fraction"
    )
