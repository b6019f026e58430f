"""95% intervals of means over queries, by resampling the queries."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVELS = (2.5, 97.5)
# Resamples drawn at once: bounds the weights at 32 x Q float64.
BLOCK = 32


def bootstrap_intervals(values: Floats, *, resamples: int, seed: int) -> Floats:
    """Return float64 [2, M]: the 2.5th and 97.5th percentile of each metric's resampled mean.

    Q queries are drawn with replacement, `resamples` times; one draw serves all M metrics, so that
    they move together as they would on new queries (Efron and Tibshirani 1993, ch. 13).

    values: float64 [Q, M], one column a metric. NaN is left out of its column's means.
    """
    rng = np.random.default_rng(seed)
    there = ~np.isnan(values)
    # One product for sums and counts of what is there.
    columns = np.hstack([np.where(there, values, 0), there])  # (Q, 2M)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, BLOCK):
        stop = min(start + BLOCK, resamples)
        sums, counts = np.hsplit(_draw_weights(rng, stop - start, len(values)) @ columns, 2)
        means[start:stop] = np.divide(
            sums, counts, out=np.full_like(sums, np.nan), where=counts > 0
        )
    intervals: Floats = np.nanpercentile(means, LEVELS, axis=0)
    return intervals


def _draw_weights(rng: np.random.Generator, resamples: int, queries: int) -> Floats:
    """Return float64 [resamples, Q]: how often each resample draws each query."""
    weights = np.empty((resamples, queries))
    for row in weights:
        row[:] = np.bincount(rng.integers(queries, size=queries), minlength=queries)
    return weights
