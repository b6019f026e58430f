"""k-reciprocal re-ranking, against sets as the paper writes them; and its place in a ranking."""

import math

import numpy as np
import pytest

from pipeline.data.arrays import Vectors
from pipeline.index import reranking
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.exact_search import find_nearest
from pipeline.index.reranking import rerank, rerank_places, rerank_scores


def slow_rerank(query: Vectors, results: Vectors, neighbors: int) -> list[int]:
    vectors = np.concatenate([query[None], results]).astype(np.float64)
    every = range(len(vectors))
    squared = np.array([[((a - b) ** 2).sum() for b in vectors] for a in vectors])
    d = squared / squared.max() if squared.max() > 0 else squared

    def nearest(i: int, count: int) -> list[int]:
        return sorted(every, key=lambda j: (d[i, j], j))[:count]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in nearest(i, k + 1) if i in nearest(j, k + 1)}

    def encode(i: int) -> dict[int, float]:
        first = reciprocal(i, neighbors)
        kept = set(first)
        for j in first:
            of_j = reciprocal(j, round(neighbors / 2))
            if len(of_j & first) > 2 / 3 * len(of_j):
                kept |= of_j
        weights = {j: math.exp(-d[i, j]) for j in kept}
        return {j: weight / sum(weights.values()) for j, weight in weights.items()}

    codes = [encode(i) for i in every]

    def expand(i: int) -> dict[int, float]:
        group = nearest(i, max(1, round(0.3 * neighbors)))
        return {j: sum(codes[g].get(j, 0.0) for g in group) / len(group) for j in every}

    def jaccard(i: int) -> float:
        one, other = expand(0), expand(i)
        least = sum(min(one[j], other[j]) for j in every)
        most = sum(max(one[j], other[j]) for j in every)
        return 1 - least / most

    final = {i: 0.7 * jaccard(i) + 0.3 * d[0, i] for i in every if i}
    return [i - 1 for i in sorted(final, key=lambda i: (round(final[i], 9), i))]


def make_vectors(count: int, seed: int, distance: str = "cosine") -> Vectors:
    """Vectors around a few centers, so that there are neighbors."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(4, 6))
    vectors = centers[rng.integers(4, size=count)] + 0.7 * rng.normal(size=(count, 6))
    return prepare_vectors(vectors.astype(np.float32), distance=distance)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("neighbors", [1, 3, 7, 8, 40])
def test_the_order_is_that_of_sets_of_neighbors(neighbors: int, distance: str) -> None:
    changed = 0
    for seed in range(6):
        vectors = make_vectors(26, seed, distance)
        order = rerank(vectors[0], vectors[1:], neighbors)
        assert order.tolist() == slow_rerank(vectors[0], vectors[1:], neighbors)
        changed += order.tolist() != list(range(25))
    assert changed


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_results_are_put_in_order(count: int) -> None:
    vectors = make_vectors(count + 1, seed=1)
    assert sorted(rerank(vectors[0], vectors[1:], 10)) == list(range(count))


def test_what_is_equal_stays_in_its_order() -> None:
    vectors = np.repeat(make_vectors(5, seed=2), 3, axis=0)
    order = rerank(vectors[0], vectors, 4)
    for first in range(0, 15, 3):
        places = [int(np.flatnonzero(order == row)[0]) for row in range(first, first + 3)]
        assert places == sorted(places)
    same = np.ones((6, 3), np.float32)
    assert rerank(same[0], same, 2).tolist() == list(range(6))


def test_in_a_ranking_the_first_results_alone_get_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The query's own image, which is in the gallery, has no part in it."""
    monkeypatch.setattr(reranking, "TOP", 20)
    gallery = make_vectors(60, seed=3)
    own_rows = np.array([4, -1, 17])
    queries = np.stack([gallery[4], make_vectors(1, seed=9)[0], gallery[17]])
    scores = GalleryScorer(gallery, distance="cosine").score(queries)
    before = scores.copy()
    plain = find_nearest(scores, own_rows, 59)
    ordered = rerank_scores(scores, own_rows, queries, gallery, 5)
    found = find_nearest(ordered, own_rows, 59)
    assert np.array_equal(scores, before)
    for q in range(3):
        first = plain[q, :20]
        new = [int(first[place]) for place in slow_rerank(queries[q], gallery[first], 5)]
        assert found[q].tolist() == new + plain[q, 20:].tolist()
    assert not np.array_equal(found, plain)


def test_rows_that_were_found_get_the_same_order_and_none_stays_none() -> None:
    vectors = make_vectors(40, seed=4)
    queries = make_vectors(3, seed=5)
    rows = np.tile(np.arange(12), (3, 1))
    rows[1, 7:] = -1
    rows[2, :] = -1
    places = rerank_places(rows, queries, vectors, 4)
    assert places[0].tolist() == slow_rerank(queries[0], vectors[:12], 4)
    assert places[1].tolist() == slow_rerank(queries[1], vectors[:7], 4) + list(range(7, 12))
    assert places[2].tolist() == list(range(12))
    assert rerank_places(rows[:0], queries[:0], vectors, 4).shape == (0, 12)


def test_the_first_alone_are_put_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranking, "TOP", 8)
    vectors, queries = make_vectors(40, seed=4), make_vectors(1, seed=5)
    places = rerank_places(np.arange(20)[None], queries, vectors, 4)[0].tolist()
    assert places == slow_rerank(queries[0], vectors[:8], 4) + list(range(8, 20))
    assert places[:8] != list(range(8))
