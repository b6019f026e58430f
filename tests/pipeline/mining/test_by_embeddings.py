"""Triplets by embeddings against the rules in plain Python, applied to every pair."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.label_sets import from_lists
from pipeline.index.distances import prepare_vectors, score_pairs
from pipeline.mining import by_embeddings
from pipeline.mining.by_embeddings import mine_by_embeddings, sample_pool
from pipeline.mining.triplets import MinedTriplets
from tests.helpers.naive_ranking import Case, cases

HARDNESS = [
    (positives, negatives)
    for positives in ("hard", "easy", "random")
    for negatives in ("hard", "semi_hard", "random")
]


def mine(
    case: Case,
    positives: str,
    negatives: str,
    n: int,
    seed: int = 0,
    candidates: int | None = None,
) -> MinedTriplets:
    return mine_by_embeddings(
        case.vectors,
        case.labels,
        positives=positives,
        negatives=negatives,
        per_anchor=n,
        distance=case.distance,
        seed=seed,
        candidates=candidates,
    )


def triplets_of(mined: MinedTriplets) -> dict[int, list[tuple[int, int, int]]]:
    of = defaultdict(list)
    for a, p, n, shared in zip(
        mined.anchors, mined.positives, mined.negatives, mined.shared, strict=True
    ):
        of[int(a)].append((int(p), int(n), int(shared)))
    return of


def naive_positives(case: Case, anchor: int, n: int, *, nearest: bool) -> list[int]:
    relevant = [i for i in range(len(case.lists)) if i != anchor and case.shared(anchor, i)]
    sign = -1 if nearest else 1
    ranked = sorted(relevant, key=lambda i: (sign * case.score(anchor, i), i))[:n]
    return [ranked[i % len(ranked)] for i in range(n)] if ranked else []


def naive_negatives(
    case: Case, anchor: int, positives: list[int], *, semi_hard: bool, pool: Sequence[int]
) -> list[int | None]:
    others = [i for i in pool if i != anchor and not case.shared(anchor, i)]
    ranked = sorted(others, key=lambda i: (-case.score(anchor, i), i))
    negatives: list[int | None] = []
    for positive in positives:
        limit = case.score(anchor, positive)
        allowed = [i for i in ranked if not semi_hard or case.score(anchor, i) < limit]
        new = [i for i in allowed if i not in negatives]
        negatives.append((new or allowed or [None])[0])
    return negatives


@pytest.mark.parametrize(("first", "block"), [(1, 3), (4, 1024), (64, 1024)])
@pytest.mark.parametrize("positives", ["hard", "easy"])
@pytest.mark.parametrize("negatives", ["hard", "semi_hard"])
@settings(deadline=None, max_examples=25)
@given(case=cases(), n=st.integers(1, 4), share=st.sampled_from([None, 0.2, 0.7, 2.0]))
def test_triplets_without_chance_are_those_of_the_rules(
    positives: str, negatives: str, first: int, block: int, case: Case, n: int, share: float | None
) -> None:
    """share: of the images, as candidates."""
    size = len(case.lists)
    candidates = None if share is None else max(1, int(share * size))
    pool: Sequence[int] = range(size)
    if candidates is not None and candidates < size:
        pool = np.flatnonzero(sample_pool(size, candidates, seed=0)).tolist()
        assert len(pool) == candidates
    with (
        patch.object(by_embeddings, "FIRST_FETCH", first),
        patch.object(by_embeddings, "ANCHORS_AT_ONCE", block),
        patch.object(by_embeddings, "EXHAUSTIVE_ANCHORS_AT_ONCE", 2),
    ):
        mined = mine(case, positives, negatives, n, candidates=candidates)
    found = triplets_of(mined)
    without_positive = without_negative = 0
    for anchor in range(len(case.lists)):
        chosen = naive_positives(case, anchor, n, nearest=positives == "easy")
        semi_hard = negatives == "semi_hard"
        against = naive_negatives(case, anchor, chosen, semi_hard=semi_hard, pool=pool)
        expected: list[tuple[int, int, int]] = []
        for p, other in zip(chosen, against, strict=True):
            triplet = (p, other, case.shared(anchor, p))
            if other is not None and triplet not in expected:
                expected.append(triplet)
        assert found.get(anchor, []) == expected
        without_positive += not chosen
        without_negative += bool(chosen) and not expected
    assert mined.without_positive == without_positive
    assert mined.without_negative == without_negative


@pytest.mark.parametrize(("positives", "negatives"), HARDNESS)
@settings(deadline=None, max_examples=15)
@given(case=cases(), n=st.integers(1, 4), seed=st.integers(0, 3))
def test_every_triplet_follows_the_rules_for_every_seed(
    positives: str, negatives: str, case: Case, n: int, seed: int
) -> None:
    for anchor, triplets in triplets_of(mine(case, positives, negatives, n, seed)).items():
        assert len(triplets) == len(set(triplets)) <= n
        for p, other, shared in triplets:
            assert anchor not in (p, other)
            assert shared == case.shared(anchor, p) > 0
            assert case.shared(anchor, other) == 0
            if negatives == "semi_hard":
                assert case.score(anchor, other) < case.score(anchor, p)


def test_a_case_computed_by_hand() -> None:
    # On a line: anchor 0 at 0; its class at 1 and 5; others at 2, 4 and 6.
    vectors = np.array([[0], [1], [5], [2], [4], [6]], np.float32)
    all_images = np.ones(6, dtype=bool)
    case = Case(vectors, [[0], [0], [0], [1], [1], [1]], all_images, all_images, "euclidean")
    first = {
        choice: triplets_of(mine(case, *choice, 2))[0]
        for choice in (("easy", "hard"), ("easy", "semi_hard"), ("hard", "semi_hard"))
    }
    assert first == {
        ("easy", "hard"): [(1, 3, 1), (2, 4, 1)],
        ("easy", "semi_hard"): [(1, 3, 1), (2, 5, 1)],
        ("hard", "semi_hard"): [(2, 5, 1), (1, 3, 1)],
    }


def test_a_positive_farther_than_every_negative_has_no_semi_hard_one() -> None:
    vectors = np.array([[0], [9], [1]], np.float32)
    labels = from_lists([[0], [0], [1]])
    mined = mine_by_embeddings(
        vectors,
        labels,
        positives="hard",
        negatives="semi_hard",
        per_anchor=2,
        distance="euclidean",
        seed=0,
    )
    # Distances. 0: positive 9, negative 1. 1: positive 9, negative 8. 2: no positive.
    assert len(mined.anchors) == 0
    assert (mined.without_positive, mined.without_negative) == (1, 2)


def test_random_triplets_depend_on_the_seed() -> None:
    rng = np.random.default_rng(0)
    case = Case(
        rng.normal(size=(60, 8)).astype(np.float32),
        [[i % 3] for i in range(60)],
        np.ones(60, dtype=bool),
        np.ones(60, dtype=bool),
        "cosine",
    )
    one, again, other = (triplets_of(mine(case, "random", "random", 2, seed)) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("negatives", ["hard", "semi_hard"])
def test_growing_searches_find_the_same_as_an_exhaustive_search(
    distance: str, negatives: str
) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)
    case = Case(vectors, [[i % 7] for i in range(3000)], *[np.ones(3000, bool)] * 2, distance)
    growing = triplets_of(mine(case, "random", negatives, 2))
    with patch.object(by_embeddings, "MAX_FETCH", 0):
        exhaustive = triplets_of(mine(case, "random", negatives, 2))
    assert growing == exhaustive


@dataclass
class NearlyTied(Case):
    """Images whose scores differ at most in their last bits, so that `score_pairs` decides."""

    def __post_init__(self) -> None:
        prepared = prepare_vectors(self.vectors, distance=self.distance)
        all_rows = np.tile(np.arange(len(prepared)), (len(prepared), 1))
        self.scores = score_pairs(prepared, prepared, all_rows, distance=self.distance)

    def score(self, a: int, b: int) -> float:
        return float(self.scores[a, b])


def nearly_tied(distance: str, seed: int, size: int = 150) -> NearlyTied:
    """Return images of three kinds; within a kind, vectors are equal or differ very little."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(3, 37)).astype(np.float32)
    vectors = kinds[rng.integers(0, 3, size)] * rng.choice([1, 1 + 2**-22], (size, 37))
    vectors[::5] = vectors[rng.integers(0, size, len(vectors[::5]))]
    lists = [[int(label)] for label in rng.integers(0, 4, size)]
    all_images = np.ones(size, dtype=bool)
    return NearlyTied(vectors.astype(np.float32), lists, all_images, all_images, distance)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("negatives", ["hard", "semi_hard"])
@pytest.mark.parametrize(("first", "most"), [(1, 0), (2, 8), (8, 512)])
def test_only_score_pairs_decides_between_near_ties(
    distance: str, negatives: str, first: int, most: int
) -> None:
    """For every size of the search, and for every order in which BLAS and faiss sum."""
    for seed in range(3):
        case = nearly_tied(distance, seed)
        with (
            patch.object(by_embeddings, "FIRST_FETCH", first),
            patch.object(by_embeddings, "MAX_FETCH", most),
            patch.object(by_embeddings, "EXHAUSTIVE_ANCHORS_AT_ONCE", 31),
        ):
            found = triplets_of(mine(case, "hard", negatives, 3))
        for anchor in range(len(case.lists)):
            chosen = naive_positives(case, anchor, 3, nearest=False)
            against = naive_negatives(
                case,
                anchor,
                chosen,
                semi_hard=negatives == "semi_hard",
                pool=range(len(case.lists)),
            )
            expected = [
                (p, other, 1)
                for p, other in dict.fromkeys(zip(chosen, against, strict=True))
                if other is not None
            ]
            assert found.get(anchor, []) == expected
