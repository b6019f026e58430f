"""kNN accuracy over k and distance against a plain vote; and who chooses the k."""

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
    knn_accuracies,
    knn_on_validation,
    knn_table,
)
from pipeline.evaluation.measure import measure
from pipeline.index import query_blocks
from tests.helpers.naive_ranking import Case, cases, vote


def accuracies(case: Case, *, k: Sequence[int]) -> Accuracies:
    return knn_accuracies(case.vectors, case.labels, case.is_query, case.is_gallery, k=k)


def max_k(case: Case) -> int:
    return len(case.gallery) - any(query in case.gallery for query in case.queries)


@settings(deadline=None)
@given(cases(), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_each_accuracy_is_the_share_of_right_votes(case: Case, ks: list[int]) -> None:
    counted = [query for query in case.queries if case.hits(query)]
    fitting = sorted({k for k in ks if k <= max_k(case)})
    assume(counted and fitting)
    found = accuracies(case, k=ks)
    assert list(found) == ["cosine", "euclidean"]
    for distance, of_k in found.items():
        asked = replace(case, distance=distance)
        assert list(of_k) == fitting
        for k, accuracy in of_k.items():
            right = [vote(asked, query, k) for query in counted]
            assert accuracy == pytest.approx(sum(right) / len(right), abs=1e-12)


@settings(deadline=None)
@given(cases())
def test_it_is_the_accuracy_that_is_reported(case: Case) -> None:
    assume(any(case.hits(query) for query in case.queries) and max_k(case) > 2)
    options = {"k": [1], "distance": case.distance, "knn": 3}
    measured = measure(case.vectors, case.labels, case.is_query, case.is_gallery, **options)
    found = accuracies(case, k=[1, 3])[case.distance][3]
    assert found == pytest.approx(measured.means["knn_accuracy"], abs=1e-12)


@settings(deadline=None)
@given(cases())
def test_blocks_of_one_query_give_the_same(case: Case) -> None:
    assume(any(case.hits(query) for query in case.queries) and max_k(case) > 2)
    whole = accuracies(case, k=[1, 3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_blocks, "MIN_QUERIES", 1)
        patch.setattr(query_blocks, "MAX_QUERIES", 1)
        assert accuracies(case, k=[1, 3]) == whole


def test_a_tie_goes_to_the_nearest_that_reaches_the_most_votes() -> None:
    # From 0, by distance: class 7, 8, 8, 7. Of two the nearest wins, of three 8, of four 7.
    line = np.array([[0], [1], [2], [3], [4]], np.float32)
    asks = np.array([True, False, False, False, False])
    case = Case(line, [[7], [7], [8], [8], [7]], asks, ~asks, "euclidean")
    assert accuracies(case, k=[1, 2, 3, 4])["euclidean"] == {1: 1, 2: 1, 3: 0, 4: 1}


def test_the_two_distances_are_not_the_same_where_lengths_differ() -> None:
    # The one of its class lies in the query's direction, far away; the other beside the query.
    vectors = np.array([[1, 0], [9, 0], [1, 1]], np.float32)
    asks = np.array([True, False, False])
    case = Case(vectors, [[0], [0], [1]], asks, ~asks, "cosine")
    assert accuracies(case, k=[1]) == {"cosine": {1: 1}, "euclidean": {1: 0}}


def test_of_unit_vectors_both_distances_vote_alike() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    everyone = np.ones(80, dtype=bool)
    case = Case(vectors, [[i % 4] for i in range(80)], everyone, everyone, "cosine")
    twice = replace(case, vectors=vectors * 2)  # these are searched by each distance
    assert accuracies(case, k=[1, 3, 9]) == accuracies(twice, k=[1, 3, 9])


# On a line, far apart: validation, where the nearest is wrong and two of three are right, and
# test, where the nearest is right and the vote of three is wrong.
VAL = [(0, 0), (1, 1), (2, 0), (3, 0)]  # place, class
TEST = [(100, 2), (101, 2), (102, 3), (103, 3)]
PLACES = np.array([[place] for place, _ in VAL + TEST], np.float32)
LABELS = from_lists([[label] for _, label in VAL + TEST])


def roles(*asking: int) -> np.ndarray:
    return np.isin(np.arange(len(PLACES)), asking)


def test_the_k_is_chosen_on_validation_and_not_on_test(tmp_path: Path) -> None:
    # Only the first of each part asks; the other validation images are searched as training ones.
    split = np.array(["val", *["train"] * 3, *["test"] * 4], dtype=object)
    gallery = roles(1, 2, 3, 5, 6, 7)
    on_val = knn_on_validation(PLACES, LABELS, split, gallery, k=[3, 1])
    test = knn_accuracies(PLACES, LABELS, roles(4), roles(5, 6, 7), k=[3, 1])
    assert on_val["euclidean"] == {1: 0, 3: 1}
    assert test["euclidean"] == {1: 1, 3: 0}
    assert choose_k(on_val["euclidean"]) == 3
    write_table(knn_table(on_val, test), tmp_path / "knn.parquet", KNN)
    rows = read_table(tmp_path / "knn.parquet", KNN).to_pylist()
    assert [tuple(row.values()) for row in rows if row["distance"] == "euclidean"] == [
        ("euclidean", 1, 0, 1, False),
        ("euclidean", 3, 1, 0, True),
    ]


def test_of_equally_good_k_the_smallest_is_chosen() -> None:
    assert choose_k({1: 0.25, 5: 0.5, 3: 0.5, 10: 0.5}) == 3


AMONG_THEMSELVES = np.array([*["val"] * 4, *["test"] * 4], dtype=object)
TESTED = roles(4, 5, 6, 7)


def test_a_candidate_that_validation_cannot_find_is_passed_over() -> None:
    on_val = knn_on_validation(PLACES, LABELS, AMONG_THEMSELVES, TESTED, k=[1, 3, 4])
    assert list(on_val["cosine"]) == [1, 3]
    test = {"cosine": {1: 0.1, 3: 0.2, 4: 0.9}}
    rows = knn_table({"cosine": {1: 0.5, 3: 0.6}}, test).to_pylist()
    assert [(row["k"], row["val_accuracy"], row["chosen"]) for row in rows] == [
        (1, 0.5, False),
        (3, 0.6, True),
        (4, None, False),
    ]


def told(split: Sequence[str], k: Sequence[int]) -> str:
    with pytest.raises(UserError) as caught:
        knn_on_validation(PLACES, LABELS, np.array(split, dtype=object), TESTED, k=k)
    return str(caught.value)


def test_where_validation_is_too_small_for_every_candidate_it_is_one_line() -> None:
    assert told(AMONG_THEMSELVES, [10, 5]) == (
        "evaluate.knn: found [10, 5], of which validation chooses; its images find 3 others; "
        "allowed: at least one of 1 to 3; add a smaller one, or change split.val_by or "
        "split.val_fraction"
    )


@pytest.mark.parametrize(("val", "found"), [([], 0), ([0], 1), ([0, 1], 2)])
def test_where_validation_finds_nothing_of_its_class_it_is_one_line(
    val: list[int], found: int
) -> None:
    split = ["val" if row in val else "train" if row < 4 else "test" for row in range(8)]
    assert told(split, [1]) == (
        f"splits: found {found} validation images, none with another of its class to find, so "
        "evaluate.knn cannot be chosen; allowed: one or more that has; change split.val_by or "
        "split.val_fraction"
    )
