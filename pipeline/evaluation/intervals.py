"""95% intervals of means over queries and over classes, by resampling the queries."""

from collections.abc import Callable

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints
from pipeline.evaluation.metrics import divide_or_nan

# float64 [R, Q], how often each of R resamples holds each of Q queries -> [R, M], the M metrics of
# each resample; NaN if a resample holds nothing to take a mean of.
Statistic = Callable[[Floats], Floats]

PERCENTILES = (2.5, 97.5)
LEVEL = (PERCENTILES[1] - PERCENTILES[0]) / 100  # of an interval, 0.95
RESAMPLES_AT_ONCE = 32  # bounds the memory of the weights to 32 x Q float64


def bootstrap_intervals(*statistics: Statistic, queries: int, resamples: int, seed: int) -> Floats:
    """Return float64 [2, M]: the 2.5th and 97.5th percentile of each metric of `statistics`.

    `queries` queries are sampled with replacement, `resamples` times. All M metrics are computed
    on the same resamples, so that they vary together as they would on new queries (Efron and
    Tibshirani 1993, ch. 13).
    """
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        weights = sample_weights(rng, min(RESAMPLES_AT_ONCE, resamples - start), queries)
        blocks.append(np.hstack([statistic(weights) for statistic in statistics]))
    intervals: Floats = np.nanpercentile(np.concatenate(blocks), PERCENTILES, axis=0)
    return intervals


def sample_weights(rng: np.random.Generator, resamples: int, units: int) -> Floats:
    """Return float64 [resamples, units]: how often each resample holds each unit.

    Each resample samples `units` times with replacement.
    """
    weights = np.empty((resamples, units))
    for row in weights:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    return weights


def query_mean_statistic(values: Floats) -> Statistic:
    """Return the statistic of the means over queries: values float64 [Q, M], one column a metric.

    NaN is left out of its column's means.
    """
    exists = ~np.isnan(values)
    # One product gives both sums and counts of the values that exist.
    columns = np.hstack([np.where(exists, values, 0), exists])  # (Q, 2M)

    def statistic(weights: Floats) -> Floats:
        return divide_or_nan(*np.hsplit(weights @ columns, 2))

    return statistic


def macro_mean_statistic(values: Floats, *, queries: Ints, classes: Ints) -> Statistic:
    """Return the statistic of the means over classes of the means over each class's queries.

    Classes are fixed, their queries are sampled: a class without a sampled query keeps the mean of
    all its queries. Leaving it out would raise the weight of large classes, which are sampled more
    surely, and would shift the interval away from the mean it belongs to. So a class of one query
    adds no width.

    values: float64 [P, M], one column a metric, without NaN: of P pairs of a query and a class.
    queries, classes: int64 [P], of each pair; classes are numbered from 0 without gaps.
    """
    order = np.argsort(classes, kind="stable")
    query_of, ordered = queries[order], values[order]
    starts = np.searchsorted(classes[order], np.arange(classes.max() + 2))

    def statistic(weights: Floats) -> Floats:
        means = np.empty((len(weights), values.shape[1]))
        _fill_macro_means(weights, query_of, starts, ordered, means)
        return means

    return statistic


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_macro_means(
    weights: Floats, query_of: Ints, starts: Ints, values: Floats, means: Floats
) -> None:
    for m in range(values.shape[1]):
        for r in range(len(weights)):
            total = 0.0
            for c in range(len(starts) - 1):
                count, weighted_sum, plain_sum = 0.0, 0.0, 0.0
                for p in range(starts[c], starts[c + 1]):
                    weight = weights[r, query_of[p]]
                    count += weight
                    weighted_sum += weight * values[p, m]
                    plain_sum += values[p, m]
                total += weighted_sum / count if count else plain_sum / (starts[c + 1] - starts[c])
            means[r, m] = total / (len(starts) - 1)
