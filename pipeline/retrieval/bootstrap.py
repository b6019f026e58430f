"""95% intervals of means over queries and over classes, by resampling the queries."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
        weights = _draw_weights(rng, min(BLOCK, resamples - start), queries)
        blocks.append(np.hstack([statistic(weights) for statistic in statistics]))
    intervals: Floats = np.nanpercentile(np.concatenate(blocks), LEVELS, axis=0)
    return intervals


def query_means(values: Floats) -> Statistic:
    """Return the statistic of the means over queries: values float64 [Q, M], one column a metric.

    NaN is left out of its column's means.
    """
    there = ~np.isnan(values)
    # One product for sums and counts of what is there.
    columns = np.hstack([np.where(there, values, 0), there])  # (Q, 2M)

    def statistic(weights: Floats) -> Floats:
        return _divide(*np.hsplit(weights @ columns, 2))

    return statistic


def macro_means(values: Floats, *, queries: Ints, classes: Ints) -> Statistic:
    """Return the statistic of the means over classes of the means over each class's queries.

    A class none of whose queries was drawn is left out of that resample.

    values: float64 [P, M], one column a metric, without NaN: of P pairs of a query and a class.
    queries, classes: int64 [P], whose pair it is; each class from 0 on has one.
    """
    order = np.argsort(classes, kind="stable")
    owners, values = queries[order], values[order]
    starts = np.searchsorted(classes[order], np.arange(classes.max() + 1))

    def statistic(weights: Floats) -> Floats:
        drawn = weights[:, owners]  # (R, P)
        counts = np.add.reduceat(drawn, starts, axis=1)  # (R, C)
        found = np.sum(counts > 0, axis=1)
        means = [
            _divide(np.add.reduceat(drawn * column, starts, axis=1), counts) for column in values.T
        ]
        return np.stack([_divide(np.nansum(mean, axis=1), found) for mean in means], axis=1)

    return statistic


def _divide(sums: Floats, counts: Floats | Ints) -> Floats:
    quotient = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=quotient, where=counts > 0)
    return quotient


def _draw_weights(rng: np.random.Generator, resamples: int, queries: int) -> Floats:
    """Return float64 [resamples, Q]: how often each resample draws each query."""
    weights = np.empty((resamples, queries))
    for row in weights:
        row[:] = np.bincount(rng.integers(queries, size=queries), minlength=queries)
    return weights
