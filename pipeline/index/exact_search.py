"""The nearest gallery images of queries by all scores, and queries averaged with them."""

from functools import partial

import numpy as np
from numba import njit

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.index.distances import GalleryScorer
from pipeline.index.postprocessing import average_with_neighbors
from pipeline.index.query_blocks import map_query_blocks
from pipeline.workers import HERE, Workers


def find_nearest(scores: Scores, own_rows: Ints, k: int) -> Ints:
    """Return int64 [Q, k]: the k nearest gallery rows of each query, -1 if there are fewer.

    Ties are in gallery order, and the query's own image is left out.
    """
    nearest = np.full((len(own_rows), k), -1, dtype=np.int64)
    if not nearest.size or not scores.size:
        return nearest
    _fill_nearest(scores, own_rows, nearest)
    nearest_scores = np.take_along_axis(scores, np.maximum(nearest, 0), axis=1)
    nearest_scores[nearest < 0] = -np.inf
    return np.take_along_axis(nearest, np.lexsort((nearest, -nearest_scores), axis=1), axis=1)


def average_with_nearest(
    queries: Vectors,
    scorer: GalleryScorer,
    gallery: Vectors,
    own_rows: Ints,
    count: int,
    *,
    workers: Workers = HERE,
) -> Vectors:
    """Return float32 [Q, d]: each query averaged with its `count` nearest images but itself.

    queries: float32 [Q, d], gallery: float32 [G, d], both prepared; scorer: of the gallery.
    own_rows: int64 [Q], the query's gallery row or -1.
    """
    blocks = map_query_blocks(
        partial(_average_block, queries, scorer, gallery, own_rows, count),
        queries=len(queries),
        gallery=len(gallery),
        workers=workers,
    )
    return np.concatenate([np.empty((0, gallery.shape[1]), np.float32), *blocks])


def average_with_best(
    queries: Vectors, gallery: Vectors, scores: Scores, own_rows: Ints, count: int, *, distance: str
) -> Vectors:
    """Return float32 [Q, d]: each query averaged with the `count` images of its highest scores.

    scores: float32 [Q, G], -inf for an image that is not to be taken. Else as
    `average_with_nearest`.
    """
    rows = find_nearest(scores, own_rows, count)
    nearest = np.take_along_axis(scores, np.maximum(rows, 0), axis=1)
    return average_with_neighbors(queries, gallery, rows, nearest, distance=distance)


def _average_block(
    queries: Vectors,
    scorer: GalleryScorer,
    gallery: Vectors,
    own_rows: Ints,
    count: int,
    start: int,
    stop: int,
) -> Vectors:
    some = queries[start:stop]
    return average_with_best(
        *(some, gallery, scorer.score(some), own_rows[start:stop], count),
        distance=scorer.distance,
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_nearest(scores: Scores, own_rows: Ints, nearest: Ints) -> None:
    """Fill `nearest`, unsorted: a heap of the best k so far, with the worst of them as its root."""
    k = nearest.shape[1]
    best = np.empty(k, dtype=np.float32)
    for q in range(len(own_rows)):
        best[:] = -np.inf
        for j in range(scores.shape[1]):
            # Of a tie, the earlier gallery row stays.
            if scores[q, j] > best[0] and j != own_rows[q]:
                _replace_root(best, nearest[q], scores[q, j], j)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _replace_root(best: Scores, rows: Ints, score: np.float32, row: int) -> None:
    k = len(best)
    i = 0
    while 2 * i + 1 < k:
        child = 2 * i + 1
        if child + 1 < k and _is_worse(best[child + 1], rows[child + 1], best[child], rows[child]):
            child += 1
        if not _is_worse(best[child], rows[child], score, row):
            break
        best[i], rows[i] = best[child], rows[child]
        i = child
    best[i], rows[i] = score, row


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_worse(score: np.float32, row: int, other: np.float32, other_row: int) -> bool:
    return bool(score < other or (score == other and row > other_row))
