"""Triplets by label sets against the rules in plain Python, and the frequencies of samples."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.data.label_sets import from_lists
from pipeline.mining.by_labels import mine_by_labels
from pipeline.mining.label_overlap import find_distinct
from pipeline.mining.triplets import MinedTriplets

# Few labels, so that sets repeat; labels with gaps; sets that all share a label.
LISTS = st.one_of(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=1, max_size=24),
    st.lists(st.lists(st.sampled_from([3, 90, 1000]), min_size=1), min_size=1, max_size=12),
    st.lists(st.lists(st.integers(1, 4)).map(lambda rest: [0, *rest]), min_size=1, max_size=12),
)
HARD = [None, 1, 3, "all"]
Pair = tuple[int, int]


def mine(
    lists: list[list[int]], how: object, n: int, seed: int = 0, **options: str
) -> MinedTriplets:
    labels = from_lists(lists)
    if how is None:
        return mine_by_labels(labels, per_anchor=n, seed=seed)
    pool = how if isinstance(how, int) else None
    return mine_by_labels(
        labels, vectors_of(len(lists)), pool=pool, per_anchor=n, seed=seed, **options
    )


def vectors_of(count: int) -> np.ndarray:
    # Few values, so that scores tie.
    values = np.random.default_rng(count).integers(-1, 2, size=(count, 3))
    return (values + np.array([0.125, 0, 0])).astype(np.float32)


def find_positives(sets: list[set[int]], a: int) -> tuple[int, list[int]]:
    """Return the most labels that an image shares with a, and the images that do."""
    gains = {b: len(sets[a] & sets[b]) for b in range(len(sets)) if b != a}
    most = max(gains.values(), default=0)
    return most, [b for b, gain in gains.items() if gain == most and most > 0]


def find_negatives(sets: list[set[int]], a: int, p: int) -> tuple[int, list[int]]:
    """Return the fewest labels that an image shares with a or p, and the images that do."""
    gains = {b: len((sets[a] | sets[p]) & sets[b]) for b in range(len(sets)) if b not in (a, p)}
    least = min(gains.values(), default=0)
    return least, [b for b, gain in gains.items() if gain == least]


@settings(max_examples=150, deadline=None)
@given(LISTS, st.sampled_from(HARD), st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_every_triplet_is_one_that_the_labels_allow(
    lists: list[list[int]], how: object, n: int, seed: int
) -> None:
    sets = [set(labels) for labels in lists]
    mined = mine(lists, how, n, seed)
    of: dict[int, list[tuple[int, int, int]]] = {a: [] for a in range(len(sets))}
    for a, p, q, shared in zip(
        mined.anchors, mined.positives, mined.negatives, mined.shared, strict=True
    ):
        of[int(a)].append((int(p), int(q), int(shared)))
    without_positive = without_negative = overlapping = 0
    for a, triplets in of.items():
        most, positives = find_positives(sets, a)
        without_positive += not positives
        without_negative += bool(positives) and not triplets
        assert len({(p, q) for p, q, _ in triplets}) == len(triplets)
        for p, q, shared in triplets:
            least, negatives = find_negatives(sets, a, p)
            assert p in positives
            assert shared == most
            assert q in negatives
            overlapping += least > 0
        if len(sets) > 2 and positives:
            assert len({p for p, _, _ in triplets}) == min(n, len(positives))
            # Negatives repeat only if there are too few.
            fewest = min(len(find_negatives(sets, a, p)[1]) for p, _, _ in triplets)
            assert len({q for _, q, _ in triplets}) >= min(len(triplets), fewest)
            if n >= len(positives):
                assert len(triplets) == min(
                    n, sum(len(find_negatives(sets, a, p)[1]) for p in positives)
                )
            assert len(triplets) >= min(n, len(positives) * fewest)
    assert list(mined.anchors) == sorted(mined.anchors)
    assert mined.without_positive == without_positive
    assert (
        mined.without_negative
        == without_negative
        == (sum(map(bool, of)) and len(sets) == 2) * (len(sets) - without_positive)
    )
    assert mined.overlapping == overlapping


@settings(max_examples=100, deadline=None)
@given(LISTS, st.sampled_from(["cosine", "euclidean"]), st.integers(1, 3))
def test_the_hardest_of_all_images_is_picked(lists: list[list[int]], distance: str, n: int) -> None:
    sets = [set(labels) for labels in lists]
    x = vectors_of(len(lists)).astype(np.float64)
    if distance == "cosine":
        scores = (x @ x.T) / np.outer(*[np.linalg.norm(x, axis=1)] * 2)
    else:
        scores = -np.linalg.norm(x[:, None] - x[None], axis=2)
    scores = scores.round(5)
    mined = mine(lists, "all", n, distance=distance)
    for a in np.unique(mined.anchors):
        rows = np.flatnonzero(mined.anchors == a)
        _, positives = find_positives(sets, a)
        wanted = sorted(scores[a, positives])[:n]
        assert set(scores[a, mined.positives[rows]]) <= set(wanted)
        first = rows[0]
        _, negatives = find_negatives(sets, a, mined.positives[first])
        assert scores[a, mined.negatives[first]] == max(scores[a, negatives])
        assert scores[a, mined.positives[first]] == min(scores[a, positives])


@settings(max_examples=150, deadline=None)
@given(LISTS, st.integers(1, 5))
def test_the_hardest_are_distinct_and_ties_are_in_row_order(lists: list[list[int]], n: int) -> None:
    sets = [set(labels) for labels in lists]
    x = vectors_of(len(lists))  # float32 holds these distances exactly
    scores = -np.linalg.norm(x[:, None] - x[None], axis=2)
    mined = mine(lists, "all", n, distance="euclidean")
    found = zip(mined.anchors, mined.positives, mined.negatives, strict=True)
    wanted = [(a, p, q) for a in range(len(sets)) for p, q in naive_hardest(sets, scores[a], a, n)]
    assert [tuple(map(int, triplet)) for triplet in found] == wanted


def naive_hardest(sets: list[set[int]], scores: np.ndarray, a: int, n: int) -> list[Pair]:
    """Return the n hardest pairs of positive and negative for a: each positive once, then again;
    negatives that are new, then those of other positives."""
    positives = sorted(find_positives(sets, a)[1], key=lambda p: (scores[p], p))[:n]
    chosen: list[Pair] = []
    for i in range(n if positives else 0):
        for p in positives[i % len(positives) :] + positives[: i % len(positives)]:
            ranked = sorted(find_negatives(sets, a, p)[1], key=lambda q: (-scores[q], q))
            earlier = {q for _, q in chosen}
            left = [q for q in ranked if q not in earlier]
            left = left or [q for q in ranked if (p, q) not in chosen]
            if left:
                chosen.append((p, left[0]))
                break
    return chosen


def test_an_anchor_has_all_the_triplets_that_its_positives_allow() -> None:
    lists = [[0, 1], [1, 2], [1], [0, 2], [0, 1, 2], [0], [1]]
    for how in HARD:
        assert np.count_nonzero(mine(lists, how, 5).anchors == 2) == 5


def test_a_larger_pool_is_harder() -> None:
    rng = np.random.default_rng(1)
    lists = [[int(label)] for label in rng.integers(0, 4, 400)]
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    gaps = []
    for pool in (1, 4, 16, None):
        mined = mine_by_labels(from_lists(lists), vectors, pool=pool, per_anchor=1, seed=0)
        a, p, q = (unit[rows] for rows in (mined.anchors, mined.positives, mined.negatives))
        gaps.append(((a * p).sum(1) - (a * q).sum(1)).mean())
    assert gaps[0] > gaps[1] + 0.1 > gaps[2] + 0.2 > gaps[3] + 0.2


@pytest.mark.parametrize("how", HARD)
def test_triplets_are_equal_for_equal_seeds_and_differ_for_others(how: object) -> None:
    lists = [[i % 5, 5 + i % 3] for i in range(60)]
    first, again, other = (mine(lists, how, 2, seed) for seed in (1, 1, 2))
    same = [np.array_equal(first.negatives, mined.negatives) for mined in (again, other)]
    assert same == [True, how == "all"]
    same = [np.array_equal(first.positives, mined.positives) for mined in (again, other)]
    assert same == [True, how == "all"]


@pytest.mark.slow
def test_tied_candidates_are_sampled_evenly() -> None:
    # 0 shares two labels with 1-6, one with 7; 8-15 share none with it or its positives.
    lists = [[0, 1], *[[0, 1]] * 3, *[[0, 1, 2]] * 3, [0], *[[3]] * 5, *[[3, 4]] * 3]
    positives, negatives = Counter[int](), Counter[int]()
    for seed in range(1000):
        mined = mine(lists, None, 1, seed)
        positives[int(mined.positives[0])] += 1
        negatives[int(mined.negatives[0])] += 1
    assert set(positives) == set(range(1, 7))
    assert set(negatives) == set(range(8, 16))
    for counts in (positives, negatives):
        assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.long
def test_the_least_overlapping_are_sampled_evenly_too() -> None:
    # All share label 0, so none is disjoint; 3-6 share fewest with 0 and its positive 1 or 2.
    lists = [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0], [0], [0, 5], [0, 5, 6], [0, 1]]
    counts = Counter[int]()
    for seed in range(2000):
        mined = mine(lists, None, 1, seed)
        counts[int(mined.negatives[0])] += 1
        assert mined.overlapping == len(mined.anchors)
    assert set(counts) == {3, 4, 5, 6}
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_distinct_sets_are_counted_once() -> None:
    sets = find_distinct(from_lists([[5], [9, 5], [5], [9], [5, 9]]))
    assert sets.of.tolist() == [0, 2, 0, 1, 2]
    assert sets.members.tolist() == [0, 2, 3, 1, 4]
    assert sets.starts.tolist() == [0, 2, 3, 5]
    assert (sets.labels.tolist(), sets.label_starts.tolist()) == ([0, 1, 0, 1], [0, 1, 2, 4])
    assert (sets.holders.tolist(), sets.holder_starts.tolist()) == ([0, 2, 1, 2], [0, 2, 4])
