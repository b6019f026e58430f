"""Retrieval metrics of each query, from the ranks of its relevant images.

A new one is a function here and a column in `_query_columns` of measure.py.

Every function takes `Ranks` of Q queries (or what its docstring says) and returns float64 [Q], NaN
for a query without a relevant image. R is the number of a query's relevant images, r_1 < r_2
< ... their ranks from 1, g_i the gain at r_i: the number of labels shared with the query.
"""

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints, Labels, Mask
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.ranking import Ranks

DECIMALS = 6  # of metrics in reports and tables


def recall_at_k(ranks: Ranks, k: int) -> Floats:
    """Return 1 if a relevant image is in the top k, else 0: [r_1 <= k].

    As in metric learning (Jégou et al. 2011); not the share of the R relevant images.
    """
    return _where_relevant(ranks, (first_hit_rank(ranks) <= k).astype(np.float64))


def precision_at_k(ranks: Ranks, k: int) -> Floats:
    """Return |{i: r_i <= k}| / k."""
    return _where_relevant(ranks, _sum(ranks, ranks.ranks <= k) / k)


def ndcg_at_k(ranks: Ranks, k: int) -> Floats:
    """Return DCG / ideal DCG, DCG = sum over r_i <= k of g_i / log2(r_i + 1).

    The ideal ranking has the relevant images first, highest gain first. Järvelin and
    Kekäläinen 2002, with their linear gain.
    """
    gained = _sum(ranks, np.where(ranks.ranks <= k, ranks.gains / np.log2(ranks.ranks + 1), 0))
    places = ranks.places
    ideal = np.where(places <= k, _falling_gains(ranks) / np.log2(places + 1), 0)
    return divide_or_nan(gained, _sum(ranks, ideal))


def average_precision(ranks: Ranks) -> Floats:
    """Return (1 / R) sum over i of i / r_i: the precision at each hit of the whole ranking."""
    return divide_or_nan(_sum(ranks, ranks.places / ranks.ranks), ranks.counts)


def average_precision_at_r(ranks: Ranks) -> Floats:
    """Return (1 / R) sum over r_i <= R of i / r_i; its mean is MAP@R.

    Musgrave, Belongie, Lim: A Metric Learning Reality Check, 2020.
    """
    hits = ranks.ranks <= np.repeat(ranks.counts, ranks.counts)
    return divide_or_nan(_sum(ranks, np.where(hits, ranks.places / ranks.ranks, 0)), ranks.counts)


def r_precision(ranks: Ranks) -> Floats:
    """Return |{i: r_i <= R}| / R: the precision at R. Musgrave, Belongie, Lim 2020."""
    hits = ranks.ranks <= np.repeat(ranks.counts, ranks.counts)
    return divide_or_nan(_sum(ranks, hits), ranks.counts)


def reciprocal_rank(ranks: Ranks) -> Floats:
    """Return 1 / r_1; its mean is MRR."""
    return 1 / first_hit_rank(ranks)


def first_hit_rank(ranks: Ranks) -> Floats:
    """Return r_1."""
    first = np.full(len(ranks), np.nan)
    exists = ranks.counts > 0
    first[exists] = ranks.ranks[ranks.starts[:-1][exists]]
    return first


def interpolated_precision(ranks: Ranks, recalls: Floats) -> Floats:
    """Return float64 [Q, len(recalls)]: the highest precision at this recall or a higher one.

    max over i with i / R >= recall of i / r_i (Manning, Raghavan, Schütze: Introduction to
    Information Retrieval, 8.4).
    """
    highest = _highest_from_here(ranks.starts, ranks.places / ranks.ranks)
    curve = np.full((len(ranks), len(recalls)), np.nan)
    exists = ranks.counts > 0
    # 0.07 * 100 is rounded to more than 7, and would give place 8 instead of 7.
    needed = np.ceil(recalls * ranks.counts[exists, None] - 1e-9).astype(np.int64)
    places = ranks.starts[:-1][exists, None] + np.maximum(needed - 1, 0)
    curve[exists] = highest[places]
    return curve


def knn_correct(nearest: Ints, gallery: LabelSets, queries: LabelSets) -> Floats:
    """Return float64 [Q]: 1 if the nearest images vote for a label of the query, else 0.

    Each image votes for all its labels. Of tied labels, the one with the nearest voter wins. Where
    this voter gives several of them, the share of these that the query has is returned, so that
    the numbers of labels do not matter. A query is never among its neighbors, so this is
    leave-one-out.

    nearest: int64 [Q, k] gallery rows, nearest first, -1 for none.
    """
    correct = np.empty(len(nearest), dtype=np.float64)
    _vote(nearest, gallery.starts, gallery.values, queries.starts, queries.values, correct)
    return correct


def divide_or_nan(values: Floats, divisors: Floats | Ints) -> Floats:
    """Return values / divisors, of one shape; NaN where the divisor is not positive."""
    quotient = np.full(values.shape, np.nan)
    np.divide(values, divisors, out=quotient, where=divisors > 0)
    return quotient


def _sum(ranks: Ranks, values: Floats | Ints | Mask) -> Floats:
    weights = values.astype(np.float64)
    return np.bincount(ranks.query_of, weights=weights, minlength=len(ranks)).astype(np.float64)


def _where_relevant(ranks: Ranks, values: Floats) -> Floats:
    return np.where(ranks.counts > 0, values, np.nan)


def _falling_gains(ranks: Ranks) -> Ints:
    """Return the gains of each query, highest first: int64 [P]."""
    if not len(ranks.gains):
        return ranks.gains
    # One sort of whole numbers, (query, highest gain - gain), sorts the gains of every query.
    base = int(ranks.gains.max()) + 1
    falling: Ints = base - 1 - np.sort(ranks.query_of * base + (base - 1 - ranks.gains)) % base
    return falling


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _highest_from_here(starts: Ints, values: Floats) -> Floats:
    highest = values.copy()
    for q in range(len(starts) - 1):
        for p in range(starts[q + 1] - 2, starts[q] - 1, -1):
            highest[p] = max(highest[p], highest[p + 1])
    return highest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _vote(
    nearest: Ints,
    gallery_starts: Ints,
    gallery_values: Labels,
    query_starts: Ints,
    query_values: Labels,
    correct: Floats,
) -> None:
    for q in range(len(nearest)):
        most, tied, right, winner = 0, 0, 0, -1
        for voter in range(len(nearest[q])):
            a = nearest[q, voter]
            for i in range(gallery_starts[a] if a >= 0 else 0, gallery_starts[a + 1]):
                votes = 0
                for b in nearest[q]:
                    if b >= 0:
                        for j in range(gallery_starts[b], gallery_starts[b + 1]):
                            votes += gallery_values[j] == gallery_values[i]
                # Nearest first, so of tied labels the one with the nearest voter comes first.
                if votes > most:
                    most, tied, right, winner = votes, 0, 0, voter
                if votes == most and winner == voter:
                    tied += 1
                    for j in range(query_starts[q], query_starts[q + 1]):
                        right += query_values[j] == gallery_values[i]
        correct[q] = right / tied if tied else 0.0
