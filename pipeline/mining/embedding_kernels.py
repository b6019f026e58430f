"""The compiled loops of mining: of each anchor's scored candidates, those that are wanted."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores
from pipeline.index.relevance import RelevantPairs


def pick_positives(pairs: RelevantPairs, scores: Scores, n: int, *, nearest: bool) -> Ints:
    """Return int64 [A, n]: the nearest or farthest relevant rows of each anchor; ties by row.

    Where there are fewer than n they repeat in turn; -1 where there is none.

    scores: float32 [P], of each pair.
    """
    picked = np.full((len(pairs.starts) - 1, n), -1, dtype=np.int64)
    _fill_positives(pairs.starts, pairs.rows, scores if nearest else -scores, picked)
    return picked


def pick_negatives(
    pairs: RelevantPairs, own: Ints, rows: Ints, scores: Scores, limits: Scores, beyond: Scores
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return (int64 [A, n], bool [A]): a negative for each positive, and whether it is certain.

    The negative of positive i is the nearest candidate that shares no label with the anchor,
    scores below limits[a, i] and was not taken for an earlier positive; where only taken ones are
    left, the nearest of them; -1 where there is none. Ties by row. It is certain if no image
    that is not a candidate could come before.

    rows: int64 [A, K] and scores: float32 [A, K], the candidates in any order, -inf where there is
    no image. limits: float32 [A, n], -inf where there is no positive. beyond: float32 [A], what
    an image that is not a candidate may score at most; -inf where there is none to be picked.
    """
    negatives = np.full(limits.shape, -1, dtype=np.int64)
    certain = np.zeros(len(rows), dtype=np.bool_)
    _fill_negatives(pairs.starts, pairs.rows, own, rows, scores, limits, beyond, negatives, certain)
    return negatives, certain


def negatives_in_reach(
    pairs: RelevantPairs, own: Ints, lowest: Scores, highest: Scores, limits: Scores
) -> Ints:
    """Return int64 [A, K]: all that `pick_negatives` may pick, if scores are known within bounds.

    Ascending, -1 behind where an anchor has fewer than K.

    lowest, highest: float32 [A, N], between which the scores of all N images lie; what cannot be
    picked is set to -inf in both. limits: float32 [A, n], as in `pick_negatives`.
    """
    reached = np.zeros(lowest.shape, dtype=np.bool_)
    _fill_reached(pairs.starts, pairs.rows, own, lowest, highest, limits, reached)
    counts = reached.sum(axis=1)
    rows = np.full((len(own), counts.max(initial=0)), -1, dtype=np.int64)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = np.nonzero(reached)[1]
    return rows


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def insert(rows: Ints, scores: Scores, found: int, row: int, score: np.float32) -> int:
    """Keep (row, score) among the best of `rows`, sorted; return how many of them are filled."""
    n = len(rows)
    if found == n:
        if score < scores[n - 1] or (score == scores[n - 1] and row > rows[n - 1]):
            return found
        found -= 1
    i = found
    while i > 0 and (scores[i - 1] < score or (scores[i - 1] == score and rows[i - 1] > row)):
        rows[i], scores[i] = rows[i - 1], scores[i - 1]
        i -= 1
    rows[i], scores[i] = row, score
    return found + 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_positives(starts: Ints, rows: Ints, scores: Scores, picked: Ints) -> None:
    n = picked.shape[1]
    best = np.empty(n, dtype=np.float32)
    for a in range(len(picked)):
        found = 0
        for p in range(starts[a], starts[a + 1]):
            found = insert(picked[a], best, found, rows[p], scores[p])
        if found:
            for i in range(found, n):
                picked[a, i] = picked[a, i - found]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_negatives(
    starts: Ints,
    relevant: Ints,
    own: Ints,
    rows: Ints,
    scores: Scores,
    limits: Scores,
    beyond: Scores,
    negatives: Ints,
    certain: NDArray[np.bool_],
) -> None:
    n = limits.shape[1]
    best_rows = np.empty(n, dtype=np.int64)
    best = np.empty(n, dtype=np.float32)
    for a in range(len(rows)):
        mine = relevant[starts[a] : starts[a + 1]]
        certain[a] = True
        for i in range(n):
            found = 0
            for c in range(rows.shape[1]):
                row, score = rows[a, c], scores[a, c]
                if score >= limits[a, i] or score == -np.inf or row == own[a]:
                    continue
                if found == n and score < best[n - 1]:
                    continue
                place = np.searchsorted(mine, row)
                if place < len(mine) and mine[place] == row:
                    continue
                found = insert(best_rows, best, found, row, score)
            negatives[a, i] = _first_untaken(best_rows[:found], negatives[a, :i])
            if limits[a, i] > -np.inf and beyond[a] > -np.inf:
                certain[a] &= found == n and best[n - 1] > beyond[a]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_reached(
    starts: Ints,
    relevant: Ints,
    own: Ints,
    lowest: Scores,
    highest: Scores,
    limits: Scores,
    reached: NDArray[np.bool_],
) -> None:
    n = limits.shape[1]
    best_rows = np.empty(n, dtype=np.int64)
    best = np.empty(n, dtype=np.float32)
    for a in range(len(own)):
        lowest[a, own[a]] = highest[a, own[a]] = -np.inf
        for p in range(starts[a], starts[a + 1]):
            lowest[a, relevant[p]] = highest[a, relevant[p]] = -np.inf
        for i in range(n):
            limit = limits[a, i]
            # The n nearest of those that are below the limit for certain; what is farther than
            # all of these for certain is not picked.
            found = 0
            for c in range(lowest.shape[1]):
                near = found < n or lowest[a, c] > best[n - 1]
                if near and -np.inf < highest[a, c] < limit:
                    found = insert(best_rows, best, found, c, lowest[a, c])
            for c in range(lowest.shape[1]):
                if -np.inf < highest[a, c] and lowest[a, c] < limit:
                    reached[a, c] |= found < n or highest[a, c] >= best[n - 1]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first_untaken(rows: Ints, taken: Ints) -> np.int64:
    for row in rows:
        free = True
        for other in taken:
            free = free and other != row
        if free:
            return np.int64(row)
    return rows[0] if len(rows) else np.int64(-1)
