"""Another order of a query's first results, by the neighbors that each of them shares with it.

Zhong, Zheng, Cao and Li: Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017;
k1 of the paper is `neighbors`. Here the query and its first results are all the images there are,
so that no graph of the gallery is needed: what is filtered, or added later, is re-ranked as well.
Distances are squared Euclidean ones of prepared vectors, divided by the largest of all of them,
where the authors' code divides those of each image by the largest of its own.
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
LANES = 8


def rerank_places(rows: Ints, queries: Vectors, vectors: Vectors, neighbors: int) -> Ints:
    """Return int64 [Q, n]: the places of `rows`, of which the first TOP are in another order.

    rows: int64 [Q, n], of `vectors`, nearest first; -1 for none, at the end. queries: float32
    [Q, d], vectors: float32 [N, d], both prepared. neighbors: how many of each image are compared.
    """
    blocks = map_query_blocks(
        partial(_rerank_block, rows, queries, vectors, neighbors),
        queries=len(rows),
        gallery=rows.shape[1],
        costly=True,
    )
    return np.concatenate([np.empty((0, rows.shape[1]), np.int64), *blocks])


def rerank_scores(
    scores: Scores, own_rows: Ints, queries: Vectors, gallery: Vectors, neighbors: int
) -> Scores:
    """Return float32 [Q, G] that put the first TOP of each query in another order.

    Theirs are above all of `scores`, the others' stay.

    scores: float32 [Q, G] of `GalleryScorer.score`. own_rows: int64 [Q], the query's gallery row
    or -1. Else as `rerank_places`.
    """
    first = find_nearest(scores, own_rows, min(TOP, scores.shape[1]))
    places = _rerank_block(first, queries, gallery, neighbors, 0, len(first))
    reranked = np.take_along_axis(first, places, axis=1)
    ordered = scores.copy()
    q, place = np.nonzero(reranked >= 0)
    # A score is at most 1, so the last of them is above.
    ordered[q, reranked[q, place]] = reranked.shape[1] + 1 - place
    return ordered


def rerank(query: Vectors, results: Vectors, neighbors: int) -> Ints:
    """Return int64 [n]: the places of the results, in their new order.

    query: float32 [d]. results: float32 [n, d], nearest first; both prepared.
    """
    vectors = np.concatenate([query[None], results])
    half, averaged = round(neighbors / 2), max(1, round(AVERAGED_SHARE * neighbors))
    compared = _compare(vectors, neighbors, half, averaged, DISTANCE_SHARE)
    return np.argsort(compared, kind="stable")


def _rerank_block(
    rows: Ints, queries: Vectors, vectors: Vectors, neighbors: int, start: int, stop: int
) -> Ints:
    places = np.tile(np.arange(rows.shape[1]), (stop - start, 1))
    for query, found, order in zip(queries[start:stop], rows[start:stop], places, strict=True):
        first = found[:TOP][found[:TOP] >= 0]
        order[: len(first)] = rerank(query, vectors[first], neighbors)
    return places


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _compare(vectors: Vectors, neighbors: int, half: int, averaged: int, share: float) -> Floats:
    """Return float64 [n]: how far each image but the first is from the first of n + 1."""
    count = len(vectors)
    distances = _find_distances(vectors)
    nearest = np.empty((count, count), np.int64)
    for i in range(count):
        nearest[i] = np.argsort(distances[i], kind="mergesort")
    encoded = np.zeros((count, count))
    for i in range(count):
        _encode(distances, nearest, i, neighbors, half, encoded[i])
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
    """Return float64 [n, n]; the largest is 1.

    Each is the sum of LANES sums, which a processor makes at once; always in the same order.
    """
    count, whole = len(vectors), vectors.shape[1] - vectors.shape[1] % LANES
    wide = vectors.astype(np.float64)
    distances, sums = np.zeros((count, count)), np.empty(LANES)
    for i in range(count):
        for j in range(i):
            sums[:] = 0
            for x in range(0, whole, LANES):
                for lane in range(LANES):
                    difference = wide[i, x + lane] - wide[j, x + lane]
                    sums[lane] += difference * difference
            total = 0.0
            for lane in range(LANES):
                total += sums[lane]
            for x in range(whole, wide.shape[1]):
                total += (wide[i, x] - wide[j, x]) ** 2
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
def _encode(
    distances: Floats, nearest: Ints, i: int, neighbors: int, half: int, weights: Floats
) -> None:
    """Fill float64 [n], whose sum is 1: the more, the nearer; of reciprocal neighbors alone, and of
    those of them, where most of these are shared."""
    first = _find_reciprocal(nearest, i, neighbors)
    kept = first.copy()
    for j in np.flatnonzero(first):
        of_neighbor = _find_reciprocal(nearest, j, half)
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
