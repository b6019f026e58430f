"""Where the relevant images stand in the exact ranking of the whole gallery, without sorting it.

The ranks and gains of a query's relevant images are all that its metrics need. They are found by
counting, for each relevant image, how many others come before it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores
from pipeline.index.relevance import RelevantPairs

# Counting compares G scores with each relevant one, 16 at a time; above so many relevant
# images, one binary search for each of the G scores is less work.
FEW = 48


@dataclass(frozen=True)
class Ranks:
    """The ranks of the relevant images of Q queries: query q owns starts[q]:starts[q + 1].

    starts: int64 [Q + 1]. ranks: int64 [P], from 1, ascending within a query. In the order of the
    ranks, rows: int64 [P], the gallery rows; gains: int64 [P], the number of labels shared with
    the query.
    """

    starts: Ints
    ranks: Ints
    rows: Ints
    gains: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Ints:
        """Relevant images of each query, R: int64 [Q]."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Ints:
        """The query of each rank, int64 [P]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def places(self) -> Ints:
        """The place of each rank among its query's relevant images, from 1: int64 [P]."""
        return np.arange(1, len(self.ranks) + 1) - np.repeat(self.starts[:-1], self.counts)


def rank_relevant(scores: Scores, pairs: RelevantPairs, own: Ints) -> Ranks:
    """Return the ranks of `pairs` when each query's gallery is sorted by score, highest first.

    Ties go by gallery order. The query's own image has no rank and takes no place.

    scores: float32 [Q, G] of `GalleryScorer.score`. own: int64 [Q], the query's gallery row or -1.
    """
    rows, gains, ranks = pairs.rows.copy(), pairs.gains.copy(), np.empty_like(pairs.rows)
    for q in np.flatnonzero(pairs.counts > FEW):
        of_query = slice(pairs.starts[q], pairs.starts[q + 1])
        # Rows ascend, so a stable sort by score leaves ties in gallery order.
        order = np.argsort(-scores[q, rows[of_query]], kind="stable")
        rows[of_query], gains[of_query] = rows[of_query][order], gains[of_query][order]
    _fill_ranks(scores, pairs.starts, rows, gains, own, FEW, ranks)
    return Ranks(pairs.starts, ranks, rows, gains)


def find_nearest(scores: Scores, own: Ints, k: int) -> Ints:
    """Return int64 [Q, k]: the first k gallery rows of each query, -1 where there are fewer.

    Ties go by gallery order, and the query's own image is left out.
    """
    nearest = np.full((len(own), k), -1, dtype=np.int64)
    if not nearest.size or not scores.size:
        return nearest
    _fill_nearest(scores, own, nearest)
    found = np.take_along_axis(scores, np.maximum(nearest, 0), axis=1)
    found[nearest < 0] = -np.inf
    return np.take_along_axis(nearest, np.lexsort((nearest, -found), axis=1), axis=1)


def count_scores(
    scores: Scores, own: Ints, pairs: RelevantPairs, *, bins: NDArray[np.float64]
) -> Ints:
    """Return int64 [2, B]: how many relevant and how many other pairs score in each bin.

    scores: float32 [Q, G] of `GalleryScorer.score`. bins: float64 [B + 1],
    even edges; what lies outside counts in the nearest bin.
    """
    counts = np.zeros((2, len(bins) - 1), dtype=np.int64)
    scale = (len(bins) - 1) / (bins[-1] - bins[0])
    _fill_counts(scores, own, pairs.starts, pairs.rows, bins[0], scale, counts)
    counts[1] -= counts[0]
    return counts


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_ranks(
    scores: Scores, starts: Ints, rows: Ints, gains: Ints, own: Ints, few: int, ranks: Ints
) -> None:
    """Fill `ranks`, ascending within a query, and bring `rows` and `gains` into their order.

    The rows of a query with more than `few` of them come in the order of the ranking.
    """
    for q in range(len(own)):
        a, b = starts[q], starts[q + 1]
        if b - a <= few:
            for p in range(a, b):
                ranks[p] = _count_before(scores[q], rows[p], own[q]) + 1
            _sort_together(ranks[a:b], rows[a:b], gains[a:b])
        else:
            _rank_many(scores[q], rows[a:b], own[q], ranks[a:b])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_before(scores: Scores, row: int, own: int) -> int:
    mark = scores[row]
    before = 0
    for j in range(row):
        before += scores[j] >= mark
    for j in range(row + 1, len(scores)):
        before += scores[j] > mark
    if own >= 0 and (scores[own] > mark or (scores[own] == mark and own < row)):
        before -= 1
    return before


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sort_together(ranks: Ints, rows: Ints, gains: Ints) -> None:
    for i in range(1, len(ranks)):
        rank, row, gain = ranks[i], rows[i], gains[i]
        j = i
        while j > 0 and ranks[j - 1] > rank:
            ranks[j], rows[j], gains[j] = ranks[j - 1], rows[j - 1], gains[j - 1]
            j -= 1
        ranks[j], rows[j], gains[j] = rank, row, gain


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rank_many(scores: Scores, rows: Ints, own: int, ranks: Ints) -> None:
    """Fill `ranks` of `rows`, which are in the order of the ranking."""
    size = len(rows)
    marks = np.empty(size, dtype=np.float32)
    counts = np.zeros(size + 1, dtype=np.int64)
    for p in range(size):
        marks[p] = scores[rows[p]]
    for j in range(len(scores)):
        if j != own:
            counts[_count_ahead(marks, rows, scores[j], j)] += 1
    rank = 0
    for p in range(size):
        rank += counts[p]
        ranks[p] = rank


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_ahead(marks: Scores, rows: Ints, score: np.float32, row: int) -> int:
    """Return how many of the ranked (marks, rows) come before a gallery `row` with `score`."""
    low, left = 0, len(marks)
    # Without a branch on the comparison, which no processor can foresee.
    while left > 0:
        half = (left + 1) // 2
        p = low + half - 1
        ahead = (marks[p] > score) | ((marks[p] == score) & (rows[p] < row))
        low += half * ahead
        left = left // 2
    return low


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_nearest(scores: Scores, own: Ints, nearest: Ints) -> None:
    """Fill `nearest` in no order: a heap of the best k so far, the worst of them at its root."""
    k = nearest.shape[1]
    best = np.empty(k, dtype=np.float32)
    for q in range(len(own)):
        best[:] = -np.inf
        for j in range(scores.shape[1]):
            # A tie stays with the earlier gallery row.
            if scores[q, j] > best[0] and j != own[q]:
                _replace_root(best, nearest[q], scores[q, j], j)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _replace_root(best: Scores, rows: Ints, score: np.float32, row: int) -> None:
    k = len(best)
    i = 0
    while 2 * i + 1 < k:
        child = 2 * i + 1
        if child + 1 < k and _worse(best[child + 1], rows[child + 1], best[child], rows[child]):
            child += 1
        if not _worse(best[child], rows[child], score, row):
            break
        best[i], rows[i] = best[child], rows[child]
        i = child
    best[i], rows[i] = score, row


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _worse(score: np.float32, row: int, other: np.float32, other_row: int) -> bool:
    return bool(score < other or (score == other and row > other_row))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_counts(
    scores: Scores, own: Ints, starts: Ints, rows: Ints, low: float, scale: float, counts: Ints
) -> None:
    last = counts.shape[1] - 1
    for q in range(len(own)):
        for j in range(scores.shape[1]):
            counts[1, min(max(int((scores[q, j] - low) * scale), 0), last)] += 1
        if own[q] >= 0:
            counts[1, min(max(int((scores[q, own[q]] - low) * scale), 0), last)] -= 1
        for p in range(starts[q], starts[q + 1]):
            counts[0, min(max(int((scores[q, rows[p]] - low) * scale), 0), last)] += 1
