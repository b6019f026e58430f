"""The compiled loops of mining by embeddings: which of an anchor's scored candidates are picked."""

import numpy as np
from numba import njit

from pipeline.data.arrays import Ints, Mask, Scores
from pipeline.index.relevance import RelevantPairs


def pick_positives(pairs: RelevantPairs, scores: Scores, n: int, *, nearest: bool) -> Ints:
    """Return int64 [A, n]: the nearest or the farthest relevant rows of each anchor; ties by row.

    If there are fewer than n they repeat from the first; -1 if there is none.

    scores: float32 [P], of each pair.
    """
    picked = np.full((len(pairs.starts) - 1, n), -1, dtype=np.int64)
    _fill_positives(pairs.starts, pairs.rows, scores if nearest else -scores, picked)
    return picked


def pick_negatives(
    pairs: RelevantPairs,
    anchors: Ints,
    rows: Ints,
    scores: Scores,
    limits: Scores,
    others_at_most: Scores,
) -> tuple[Ints, Mask]:
    """Return (int64 [A, n], bool [A]): a negative for each positive, and whether it is certain.

    The negative of positive i is the nearest candidate that shares no label with the anchor,
    scores below limits[a, i] and is not the negative of an earlier positive; if only those are
    left, the nearest of them; -1 if there is none. Ties by row. It is certain if no image that is
    not a candidate could come before it.

    anchors: int64 [A], the row of the anchor itself, -1 if it is not among them.
    rows: int64 [A, K] and scores: float32 [A, K], the candidates in any order, -inf for no image.
    limits: float32 [A, n], -inf for no positive. others_at_most: float32 [A], the highest possible
    score of an image that is not a candidate; -inf if there is none to pick.
    """
    negatives = np.full(limits.shape, -1, dtype=np.int64)
    certain = np.zeros(len(rows), dtype=np.bool_)
    _fill_negatives(
        pairs.starts, pairs.rows, anchors, rows, scores, limits, others_at_most, negatives, certain
    )
    return negatives, certain


def find_reachable_negatives(
    pairs: RelevantPairs, anchors: Ints, lowest: Scores, highest: Scores, limits: Scores
) -> Ints:
    """Return int64 [A, K]: all rows that `pick_negatives` may pick for scores within the bounds.

    Ascending, then -1 if an anchor has fewer than K.

    anchors: as in `pick_negatives`.
    lowest, highest: float32 [A, N], the bounds of the scores of all N images; both become -inf for
    an image that cannot be picked. limits: float32 [A, n], as in `pick_negatives`.
    """
    reachable = np.zeros(lowest.shape, dtype=np.bool_)
    _fill_reachable(pairs.starts, pairs.rows, anchors, lowest, highest, limits, reachable)
    counts = reachable.sum(axis=1)
    rows = np.full((len(anchors), counts.max(initial=0)), -1, dtype=np.int64)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = np.nonzero(reachable)[1]
    return rows


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _insert(rows: Ints, scores: Scores, filled: int, row: int, score: np.float32) -> int:
    """Keep (row, score) among the sorted best of `rows`; return how many of them are filled."""
    n = len(rows)
    if filled == n:
        if score < scores[n - 1] or (score == scores[n - 1] and row > rows[n - 1]):
            return filled
        filled -= 1
    i = filled
    while i > 0 and (scores[i - 1] < score or (scores[i - 1] == score and rows[i - 1] > row)):
        rows[i], scores[i] = rows[i - 1], scores[i - 1]
        i -= 1
    rows[i], scores[i] = row, score
    return filled + 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_positives(starts: Ints, rows: Ints, scores: Scores, picked: Ints) -> None:
    n = picked.shape[1]
    best = np.empty(n, dtype=np.float32)
    for a in range(len(picked)):
        filled = 0
        for p in range(starts[a], starts[a + 1]):
            filled = _insert(picked[a], best, filled, rows[p], scores[p])
        if filled:
            for i in range(filled, n):
                picked[a, i] = picked[a, i - filled]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_negatives(
    starts: Ints,
    relevant_rows: Ints,
    anchors: Ints,
    rows: Ints,
    scores: Scores,
    limits: Scores,
    others_at_most: Scores,
    negatives: Ints,
    certain: Mask,
) -> None:
    n = limits.shape[1]
    best_rows = np.empty(n, dtype=np.int64)
    best = np.empty(n, dtype=np.float32)
    for a in range(len(rows)):
        relevant = relevant_rows[starts[a] : starts[a + 1]]
        certain[a] = True
        for i in range(n):
            filled = 0
            for c in range(rows.shape[1]):
                row, score = rows[a, c], scores[a, c]
                if score >= limits[a, i] or score == -np.inf or row == anchors[a]:
                    continue
                if filled == n and score < best[n - 1]:
                    continue
                place = np.searchsorted(relevant, row)
                if place < len(relevant) and relevant[place] == row:
                    continue
                filled = _insert(best_rows, best, filled, row, score)
            negatives[a, i] = _pick_first_new(best_rows[:filled], negatives[a, :i])
            if limits[a, i] > -np.inf and others_at_most[a] > -np.inf:
                certain[a] &= filled == n and best[n - 1] > others_at_most[a]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_reachable(
    starts: Ints,
    relevant_rows: Ints,
    anchors: Ints,
    lowest: Scores,
    highest: Scores,
    limits: Scores,
    reachable: Mask,
) -> None:
    n = limits.shape[1]
    best_rows = np.empty(n, dtype=np.int64)
    best = np.empty(n, dtype=np.float32)
    for a in range(len(anchors)):
        if anchors[a] >= 0:
            lowest[a, anchors[a]] = highest[a, anchors[a]] = -np.inf
        for p in range(starts[a], starts[a + 1]):
            lowest[a, relevant_rows[p]] = highest[a, relevant_rows[p]] = -np.inf
        for i in range(n):
            limit = limits[a, i]
            # First the n nearest of the images that are certainly below the limit; an image that
            # is certainly farther than all of these is not picked.
            filled = 0
            for c in range(lowest.shape[1]):
                near = filled < n or lowest[a, c] > best[n - 1]
                if near and -np.inf < highest[a, c] < limit:
                    filled = _insert(best_rows, best, filled, c, lowest[a, c])
            for c in range(lowest.shape[1]):
                if -np.inf < highest[a, c] and lowest[a, c] < limit:
                    reachable[a, c] |= filled < n or highest[a, c] >= best[n - 1]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_first_new(rows: Ints, earlier: Ints) -> np.int64:
    """Return the first of `rows` that is not in `earlier`, else the first; -1 for no rows."""
    for row in rows:
        new = True
        for other in earlier:
            new = new and other != row
        if new:
            return np.int64(row)
    return rows[0] if len(rows) else np.int64(-1)
