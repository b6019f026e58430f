"""Another order of a query's first results, by the neighbors that each of them shares with it.

Zhong, Zheng, Cao and Li: Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017;
k1 of the paper is `neighbors`. Here the query and its first results are all the images there are,
so that no graph of the gallery is needed: what is filtered, or added later, is re-ranked as well.
Distances are squared Euclidean ones of prepared vectors, divided by the largest of them.
"""

from functools import partial

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints, Mask, Scores, Vectors
from pipeline.index.exact_search import find_nearest
from pipeline.index.query_blocks import map_query_blocks

# How many of the first results get another order.
TOP = 100
# What the distance itself counts beside the share of neighbors that differ: lambda of the paper.
DISTANCE_SHARE = 0.3
# Of the neighbors, those whose encodings are averaged: k2 of the paper, 6 for 20.
AVERAGED_SHARE = 0.3


def rerank_rows(rows: Ints, queries: Vectors, vectors: Vectors, neighbors: int) -> Ints:
    """Return int64 [Q, n]: `rows` with the first TOP of each query in another order.

    rows: int64 [Q, n], of `vectors`, nearest first; -1 for none, at the end. queries: float32
    [Q, d], vectors: float32 [N, d], both prepared. neighbors: of each image that are compared.
    """
    blocks = map_query_blocks(
        partial(_rerank_block, rows, queries, vectors, neighbors),
        queries=len(rows),
        gallery=rows.shape[1],
    )
    return np.concatenate([np.empty((0, rows.shape[1]), np.int64), *blocks])


def rerank_scores(
    scores: Scores, own_rows: Ints, queries: Vectors, gallery: Vectors, neighbors: int
) -> Scores:
    """Return float32 [Q, G]: `scores`, but above them all, places that put the first TOP of each
    query in another order.

    scores: float32 [Q, G] of `GalleryScorer.score`. own_rows: int64 [Q], the query's gallery row
    or -1. Else as `rerank_rows`.
    """
    first = find_nearest(scores, own_rows, min(TOP, scores.shape[1]))
    reranked = _rerank_block(first, queries, gallery, neighbors, 0, len(first))
    ordered = scores.copy()
    q, place = np.nonzero(reranked >= 0)
    # A score is at most 1, so the last of them is above.
    ordered[q, reranked[q, place]] = reranked.shape[1] + 1 - place
    return ordered


def rerank(query: Vectors, results: Vectors, neighbors: int) -> Ints:
    """Return int64 [n]: the places of the results, in their new order.

    query: float32 [d]. results: float32 [n, d], nearest first; both prepared.
    """
    averaged = max(1, round(AVERAGED_SHARE * neighbors))
    vectors = np.concatenate([query[None], results])
    return np.argsort(_compare(vectors, neighbors, averaged, DISTANCE_SHARE), kind="stable")


def _rerank_block(
    rows: Ints, queries: Vectors, vectors: Vectors, neighbors: int, start: int, stop: int
) -> Ints:
    block = rows[start:stop].copy()
    for query, found in zip(queries[start:stop], block, strict=True):
        first = found[:TOP][found[:TOP] >= 0]
        found[: len(first)] = first[rerank(query, vectors[first], neighbors)]
    return block


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _compare(vectors: Vectors, neighbors: int, averaged: int, share: float) -> Floats:
    """Return float64 [n]: how far each image but the first is from the first of n + 1."""
    count = len(vectors)
    distances = _find_distances(vectors)
    nearest = np.empty((count, count), np.int64)
    for i in range(count):
        nearest[i] = np.argsort(distances[i], kind="mergesort")
    encoded = np.zeros((count, count))
    for i in range(count):
        _encode(distances, nearest, i, neighbors, encoded[i])
    compared = np.empty(count - 1)
    own = _average(encoded, nearest[0, :averaged])
    for i in range(1, count):
        common = np.minimum(own, _average(encoded, nearest[i, :averaged])).sum()
        # Of weights whose sum is 1, Jaccard's distance: all that is in both over all in either.
        jaccard = 1 - common / (2 - common)
        compared[i - 1] = (1 - share) * jaccard + share * distances[0, i]
    return compared


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_distances(vectors: Vectors) -> Floats:
    """Return float64 [n, n], each sum in the order of the dimensions; the largest is 1."""
    count = len(vectors)
    distances = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            total = 0.0
            for x in range(vectors.shape[1]):
                difference = np.float64(vectors[i, x]) - np.float64(vectors[j, x])
                total += difference * difference
            distances[i, j] = total
            distances[j, i] = total
    largest = distances.max()
    return distances / largest if largest > 0 else distances


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_reciprocal(nearest: Ints, i: int, neighbors: int) -> Mask:
    """Return bool [n]: which of the neighbors of i, itself too, have i among theirs."""
    found = np.zeros(len(nearest), np.bool_)
    for j in nearest[i, : neighbors + 1]:
        found[j] = (nearest[j, : neighbors + 1] == i).any()
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _encode(distances: Floats, nearest: Ints, i: int, neighbors: int, weights: Floats) -> None:
    """Fill float64 [n], whose sum is 1: the more, the nearer; of reciprocal neighbors alone, and of
    those of them, where most of these are shared."""
    first = _find_reciprocal(nearest, i, neighbors)
    kept = first.copy()
    for j in np.flatnonzero(first):
        of_neighbor = _find_reciprocal(nearest, j, neighbors // 2)
        if 3 * (of_neighbor & first).sum() > 2 * of_neighbor.sum():
            kept |= of_neighbor
    total = 0.0
    for j in np.flatnonzero(kept):
        weights[j] = _exp_minus(distances[i, j])
        total += weights[j]
    weights /= total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _average(encoded: Floats, rows: Ints) -> Floats:
    total = np.zeros(encoded.shape[1])
    for row in rows:
        total += encoded[row]
    return total / len(rows)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _exp_minus(x: float) -> float:
    """Return e^-x for x of 0 to 1, by its series: the last bit of a library's own is its own."""
    total = term = 1.0
    for n in range(1, 20):
        term *= -x / n
        total += term
    return total
