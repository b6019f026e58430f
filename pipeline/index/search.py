"""Search in a faiss index: the nearest gallery images of many queries, and what an index misses."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import faiss
import numpy as np

from pipeline.data.arrays import Floats, Ints, Mask, Scores, Vectors
from pipeline.index.centring import strip_centring
from pipeline.index.distances import SCORE_TOLERANCE, score_pairs

# Queries whose last neighbors tie fetch more neighbors, up to this many.
MAX_FETCHED = 4096
QUERIES_AT_ONCE = 4096


@dataclass(frozen=True)
class Neighbors:
    """The nearest gallery images of Q queries, nearest first.

    rows: int64 [Q, n], gallery rows, -1 for none. scores: float32 [Q, n], -inf for none.
    """

    rows: Ints
    scores: Scores


def search_index(
    index: faiss.Index,
    vectors: Vectors,
    queries: Vectors,
    own_rows: Ints,
    k: int,
    *,
    distance: str,
    allowed: Mask | None = None,
) -> Neighbors:
    """Return the k allowed images that the index finds nearest to each query, by its rows.

    Highest score first, ties in the order of rows; -1 and -inf if the index finds fewer. The
    query's own image, own_rows[q], is left out by its row, at whatever rank the index finds it.

    The scores are those of the index; an index that compresses vectors has slightly wrong ones.
    Those of a flat index are summed again by `score_pairs`, because faiss sums identical images in
    different orders, which breaks their ties. Images that faiss may rank just after the last one
    because of such a sum are fetched too.

    vectors: float32 [N, D], of the index's rows, queries: float32 [Q, D], both prepared. own_rows:
    int64 [Q], -1 for none. allowed: bool [N]; None: all.
    """
    rows, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    flat = isinstance(strip_centring(index)[0], faiss.IndexFlat)
    rescored, tolerance = (vectors, SCORE_TOLERANCE) if flat else (None, 0.0)
    share = 1.0 if allowed is None else max(float(allowed.mean()), 1 / index.ntotal)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        pending = np.arange(start, min(start + QUERIES_AT_ONCE, len(queries)))
        count = min(ceil((k + 1) / share), index.ntotal)
        while len(pending):
            found = fetch_nearest(
                index, rescored, queries[pending], own_rows[pending], count, distance=distance
            )
            nearest = found if allowed is None else _keep_allowed(found, allowed)
            rows[pending, :count] = nearest.rows[:, :k]
            scores[pending, :count] = nearest.scores[:, :k]
            if count == index.ntotal:
                break
            more = _lacks_some(found, nearest, k)
            if count < MAX_FETCHED:
                more |= _may_tie(found, nearest, k, tolerance=tolerance)
            pending = pending[more]
            count = min(4 * count, index.ntotal)
    return Neighbors(rows, scores)


def _lacks_some(found: Neighbors, nearest: Neighbors, k: int) -> Mask:
    """Return bool [Q]: whether too few of the fetched images are allowed, and there are more."""
    # An index that fetches fewer than it was asked for has no more; one is the query itself.
    all_fetched = (found.rows >= 0).sum(axis=1) >= found.rows.shape[1] - 1
    lacks: Mask = all_fetched & (nearest.rows[:, k - 1] < 0)
    return lacks


def _may_tie(found: Neighbors, nearest: Neighbors, k: int, *, tolerance: float) -> Mask:
    lowest = np.where(np.isfinite(found.scores), found.scores, np.inf).min(axis=1, keepdims=True)
    fetched = np.concatenate([nearest.scores, lowest], axis=1)
    return may_tie_with_unfetched(fetched, k, tolerance=tolerance)


def _keep_allowed(found: Neighbors, allowed: Mask) -> Neighbors:
    """Return the neighbors that are allowed, first, and -1 and -inf for the others."""
    kept = (found.rows >= 0) & allowed[found.rows]
    order = np.argsort(~kept, axis=1, kind="stable")
    kept = np.take_along_axis(kept, order, axis=1)
    rows = np.take_along_axis(found.rows, order, axis=1)
    scores = np.take_along_axis(found.scores, order, axis=1)
    return Neighbors(np.where(kept, rows, -1), np.where(kept, scores, -np.inf).astype(np.float32))


def index_recall(
    found: Ints, exact: Ints, k: int, *, gallery: Vectors, queries: Vectors, distance: str
) -> Floats:
    """Return float64 [Q]: the share of the exact top k that is in the index's top k.

    A neighbor that ties with the k-th of the exact ranking counts as found.

    found, exact: int64 [Q, >= k], gallery rows of the index and of the exact ranking, nearest
    first.
    """
    scores = score_pairs(queries, gallery, found[:, :k], distance=distance)
    # The lowest of all k, not the k-th: the exact ranking has other sums, so that near ties may be
    # in another order.
    exact_scores = score_pairs(queries, gallery, exact[:, :k], distance=distance)
    lowest = exact_scores.min(axis=1, keepdims=True)
    shares: Floats = (scores >= lowest).mean(axis=1)
    return shares


def fetch_nearest(
    index: faiss.Index,
    gallery: Vectors | None,
    queries: Vectors,
    own_rows: Ints,
    count: int,
    *,
    distance: str,
    options: Any = None,
) -> Neighbors:
    """Return `count` neighbors of each query, sorted; the query's own image is last, as -1.

    gallery: float32 [G, D], to sum the scores again; None keeps those of the index.
    options: faiss.SearchParameters that fit the index.
    """
    found, rows = index.search(queries, count, params=options)
    if gallery is not None:
        scores = score_pairs(queries, gallery, rows, distance=distance)
    else:
        scores = scores_from_faiss(found, distance=distance)
    rows[rows == own_rows[:, None]] = -1
    scores[rows < 0] = -np.inf
    order = np.lexsort((rows, -scores), axis=1)
    return Neighbors(
        np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    )


def scores_from_faiss(found: Scores, *, distance: str) -> Scores:
    """Return scores from what faiss returns: the cosine, or the squared Euclidean distance."""
    return -np.sqrt(np.maximum(found, 0)) if distance == "euclidean" else found


def may_tie_with_unfetched(scores: Scores, k: int, *, tolerance: float) -> Mask:
    """Return bool [Q]: whether an image that was not fetched may tie with the k-th neighbor.

    scores: float32 [Q, n], sorted, -inf for none. tolerance: by how much the scores of a tie may
    differ: of a score up to 1 absolutely, else relatively.
    """
    exists = np.isfinite(scores)
    last = np.where(exists, scores, np.inf).min(axis=1)
    kth, kth_exists = scores[:, k - 1], exists[:, k - 1]
    margin = tolerance * np.maximum(1, np.abs(np.where(kth_exists, kth, 0)))
    may_tie: Mask = kth_exists & (kth - last <= margin)
    return may_tie
