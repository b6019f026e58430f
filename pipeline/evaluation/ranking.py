"""The ranks of the relevant images in the exact ranking of the whole gallery, without sorting it.

A query's metrics need only the ranks and gains of its relevant images. A rank is found by counting
how many gallery images come before the relevant one.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints, Scores
from pipeline.index.relevance import RelevantPairs

# Counting compares all G scores with each relevant one, 16 at a time. With more relevant images
# than this, one binary search for each of the G scores is less work.
MAX_COUNTED = 48


@dataclass(frozen=True)
class Ranks:
    """The ranks of the relevant images of Q queries: starts[q]:starts[q + 1] are those of query q.

    starts: int64 [Q + 1]. ranks: int64 [P], from 1, ascending within a query. rows: int64 [P], the
    gallery row at each rank. gains: int64 [P], the number of labels it shares with the query.
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
    def query_of(self) -> Ints:
        """The query of each rank, int64 [P]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def places(self) -> Ints:
        """The place of each rank among its query's relevant images, from 1: int64 [P]."""
        return np.arange(1, len(self.ranks) + 1) - np.repeat(self.starts[:-1], self.counts)


def rank_relevant(scores: Scores, pairs: RelevantPairs, own_rows: Ints) -> Ranks:
    """Return the ranks of `pairs` when each query's gallery is sorted by score, highest first.

    Ties are in gallery order. The query's own image is not in the ranking.

    scores: float32 [Q, G] of `GalleryScorer.score`. own_rows: int64 [Q], the query's gallery row
    or -1.
    """
    rows, gains, ranks = pairs.rows.copy(), pairs.gains.copy(), np.empty_like(pairs.rows)
    for q in np.flatnonzero(pairs.counts > MAX_COUNTED):
        of_query = slice(pairs.starts[q], pairs.starts[q + 1])
        # Rows are ascending, so a stable sort by score leaves ties in gallery order.
        order = np.argsort(-scores[q, rows[of_query]], kind="stable")
        rows[of_query], gains[of_query] = rows[of_query][order], gains[of_query][order]
    _fill_ranks(scores, pairs.starts, rows, gains, own_rows, MAX_COUNTED, ranks)
    return Ranks(pairs.starts, ranks, rows, gains)


def count_scores(scores: Scores, own_rows: Ints, pairs: RelevantPairs, *, bins: Floats) -> Ints:
    """Return int64 [2, B]: the number of relevant and of other pairs with a score in each bin.

    scores: float32 [Q, G] of `GalleryScorer.score`. bins: float64 [B + 1], evenly spaced edges; a
    score outside counts in the nearest bin.
    """
    counts = np.zeros((2, len(bins) - 1), dtype=np.int64)
    scale = (len(bins) - 1) / (bins[-1] - bins[0])
    _fill_counts(scores, own_rows, pairs.starts, pairs.rows, bins[0], scale, counts)
    counts[1] -= counts[0]
    return counts


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_ranks(
    scores: Scores,
    starts: Ints,
    rows: Ints,
    gains: Ints,
    own_rows: Ints,
    max_counted: int,
    ranks: Ints,
) -> None:
    """Fill `ranks`, ascending within a query, and sort `rows` and `gains` in the same order.

    The rows of a query with more than `max_counted` are already in the order of the ranking.
    """
    for q in range(len(own_rows)):
        a, b = starts[q], starts[q + 1]
        if b - a <= max_counted:
            for p in range(a, b):
                ranks[p] = _count_before(scores[q], rows[p], own_rows[q]) + 1
            _sort_together(ranks[a:b], rows[a:b], gains[a:b])
        else:
            _rank_many(scores[q], rows[a:b], own_rows[q], ranks[a:b])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_before(scores: Scores, row: int, own_row: int) -> int:
    score = scores[row]
    before = 0
    for j in range(row):
        before += scores[j] >= score
    for j in range(row + 1, len(scores)):
        before += scores[j] > score
    if own_row >= 0 and (scores[own_row] > score or (scores[own_row] == score and own_row < row)):
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
def _rank_many(scores: Scores, rows: Ints, own_row: int, ranks: Ints) -> None:
    """Fill `ranks` of `rows`, which are in the order of the ranking."""
    size = len(rows)
    relevant_scores = np.empty(size, dtype=np.float32)
    counts = np.zeros(size + 1, dtype=np.int64)
    for p in range(size):
        relevant_scores[p] = scores[rows[p]]
    for j in range(len(scores)):
        if j != own_row:
            counts[_count_ahead(relevant_scores, rows, scores[j], j)] += 1
    rank = 0
    for p in range(size):
        rank += counts[p]
        ranks[p] = rank


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_ahead(relevant_scores: Scores, rows: Ints, score: np.float32, row: int) -> int:
    """Return how many of the ranked relevant images come before a gallery `row` with `score`."""
    low, left = 0, len(relevant_scores)
    # Without a branch on the comparison, which a processor cannot predict.
    while left > 0:
        half = (left + 1) // 2
        p = low + half - 1
        ahead = (relevant_scores[p] > score) | ((relevant_scores[p] == score) & (rows[p] < row))
        low += half * ahead
        left = left // 2
    return low


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_counts(
    scores: Scores, own_rows: Ints, starts: Ints, rows: Ints, low: float, scale: float, counts: Ints
) -> None:
    last = counts.shape[1] - 1
    for q in range(len(own_rows)):
        for j in range(scores.shape[1]):
            counts[1, min(max(int((scores[q, j] - low) * scale), 0), last)] += 1
        if own_rows[q] >= 0:
            counts[1, min(max(int((scores[q, own_rows[q]] - low) * scale), 0), last)] -= 1
        for p in range(starts[q], starts[q + 1]):
            counts[0, min(max(int((scores[q, rows[p]] - low) * scale), 0), last)] += 1
