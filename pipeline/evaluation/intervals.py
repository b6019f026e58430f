"""95% intervals of means over queries and over classes, by resampling the queries."""

from collections.abc import Callable

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints

# From how often each of R resamples draws each of Q queries, [R, Q], to M metrics of each, [R, M];
# NaN where a resample has nothing to take a mean of.
Statistic = Callable[[Floats], Floats]

LEVELS = (2.5, 97.5)
# Resamples drawn at once: bounds the weights at 32 x Q float64.
BLOCK = 32


def bootstrap_intervals(*statistics: Statistic, queries: int, resamples: int, seed: int) -> Floats:
    """Return float64 [2, M]: the 2.5th and 97.5th percentile of each metric of `statistics`.

    The `queries` are drawn with replacement, `resamples` times; one draw serves all M metrics, so
    that they move together as they would on new queries (Efron and Tibshirani 1993, ch. 13).
    """
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, resamples, BLOCK):
        weights = _sample_weights(rng, min(BLOCK, resamples - start), queries)
        blocks.append(np.hstack([statistic(weights) for statistic in statistics]))
    intervals: Floats = np.nanpercentile(np.concatenate(blocks), LEVELS, axis=0)
    return intervals


def query_mean_statistic(values: Floats) -> Statistic:
    """Return the statistic of the means over queries: values float64 [Q, M], one column a metric.

    NaN is left out of its column's means.
    """
    there = ~np.isnan(values)
    # One product for sums and counts of what is there.
    columns = np.hstack([np.where(there, values, 0), there])  # (Q, 2M)

    def statistic(weights: Floats) -> Floats:
        return _divide(*np.hsplit(weights @ columns, 2))

    return statistic


def macro_mean_statistic(values: Floats, *, queries: Ints, classes: Ints) -> Statistic:
    """Return the statistic of the means over classes of the means over each class's queries.

    The classes are given, their queries are drawn: a class none of whose queries is drawn keeps
    the mean of all of them. To leave it out would raise the say of large classes, which are drawn
    more surely, and move the interval away from the mean that it is of. So a class of one query
    adds no width.

    values: float64 [P, M], one column a metric, without NaN: of P pairs of a query and a class.
    queries, classes: int64 [P], whose pair it is; each class from 0 on has one.
    """
    order = np.argsort(classes, kind="stable")
    owners, ordered = queries[order], values[order]
    starts = np.searchsorted(classes[order], np.arange(classes.max() + 2))

    def statistic(weights: Floats) -> Floats:
        means = np.empty((len(weights), values.shape[1]))
        _fill_macro_means(weights, owners, starts, ordered, means)
        return means

    return statistic


def _divide(sums: Floats, counts: Floats | Ints) -> Floats:
    quotient = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=quotient, where=counts > 0)
    return quotient


def _sample_weights(rng: np.random.Generator, resamples: int, queries: int) -> Floats:
    """Return float64 [resamples, Q]: how often each resample draws each query."""
    weights = np.empty((resamples, queries))
    for row in weights:
        row[:] = np.bincount(rng.integers(queries, size=queries), minlength=queries)
    return weights


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_macro_means(
    weights: Floats, owners: Ints, starts: Ints, values: Floats, means: Floats
) -> None:
    for m in range(values.shape[1]):
        for r in range(len(weights)):
            total = 0.0
            for c in range(len(starts) - 1):
                drawn, gained, whole = 0.0, 0.0, 0.0
                for p in range(starts[c], starts[c + 1]):
                    times = weights[r, owners[p]]
                    drawn += times
                    gained += times * values[p, m]
                    whole += values[p, m]
                total += gained / drawn if drawn else whole / (starts[c + 1] - starts[c])
            means[r, m] = total / (len(starts) - 1)
