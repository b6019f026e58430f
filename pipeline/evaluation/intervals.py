"""95% intervals of means over queries (micro) and over classes (macro), by one bootstrap-t.

Both kinds of mean are ratios of sums over the same units, which are resampled: classes, or single
queries. So a micro and a macro mean that are one number have one interval.
"""

import numpy as np
from scipy import sparse

from pipeline.data.arrays import Floats, Ints
from pipeline.evaluation.bootstrap_t import (
    LEVEL,
    MAX_RELATED,
    UnitSums,
    find_reach,
    resample_units,
)

MIN_UNITS = 2  # of one unit, the variance cannot be estimated


def bootstrap_intervals(*means: UnitSums, resamples: int, seed: int) -> Floats:
    """Return float64 [2, M]: the ends of the 95% interval of each of the M means of `means`.

    The same units are resampled for all, `resamples` times. An interval reaches as far to both
    sides of its mean: the 95th percentile of t times the standard error (`bootstrap_t`). It is
    infinite with fewer than MIN_UNITS units, or if more than MAX_RELATED of the pairs of queries
    share a label.
    """
    units = UnitSums(
        *(
            np.concatenate([getattr(each, name) for each in means], axis=-1)
            for name in ("mean", "errors", "counts", "related")
        )
    )
    shifts, t = resample_units(units, resamples=resamples, seed=seed)
    reach = find_reach(units.scale(t), shifts)
    unknown = (units.independent < MIN_UNITS) | (units.related > MAX_RELATED)
    reach = np.where(unknown, np.inf, reach)
    return np.stack([units.mean - reach, units.mean + reach])


def sum_by_class(
    values: Floats, classes: Ints, units: Ints, *, unit_count: int, queries: Ints | None = None
) -> UnitSums:
    """Return the means over C classes of the means over each class's queries, by unit.

    A query weighs 1/n in a class of n queries, so the mean is a ratio as that over queries is.

    values: float64 [P, M], without NaN, of P pairs of a query and a class. classes: int64 [P], of
    each pair, from 0 to C - 1. units: int64 [P], the resampled unit of each pair: its class or its
    query. queries: int64 [P], to be given if the units are classes: if queries have several
    classes, these are correlated, and the errors are scaled to the standard error that is clustered
    by class and by query (Cameron, Gelbach and Miller 2011).
    """
    weights = 1 / np.bincount(classes)[classes]
    grouping = _grouping(weights, units, unit_count)
    counts = np.repeat(grouping @ np.ones((len(values), 1)), values.shape[1], axis=1)
    sums = grouping @ values
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    errors = sums - mean * counts
    if queries is not None and len(np.unique(queries)) < len(queries):
        of_pairs = weights[:, None] * (values - mean)
        of_queries = _grouping(np.ones(len(queries)), queries, int(queries.max()) + 1) @ of_pairs
        shared = (of_queries**2).sum(axis=0) - (of_pairs**2).sum(axis=0)
        of_units = (errors**2).sum(axis=0)
        added = np.divide(shared, of_units, out=np.zeros_like(shared), where=of_units > 0)
        errors = errors * np.sqrt(1 + np.maximum(added, 0))
    return UnitSums(mean, errors, counts, np.zeros_like(mean))


def doubt_certainty(mean: float, units: int) -> tuple[float, float]:
    """Return the interval of a mean of values from 0 to 1 that are all 1, or all 0.

    `units` of them without an exception leave room for one: the share p of units that are so is
    seen in all of them with a probability of p^units, which is 1 - LEVEL at the returned end (the
    "rule of three", about 3 / units; Hanley and Lippman-Hand 1983).

    >>> [round(end, 3) for end in doubt_certainty(1, 80)]
    [0.963, 1]
    """
    share = (1 - LEVEL) ** (1 / units)
    return (share, 1) if mean else (0, 1 - share)


def _grouping(weights: Floats, groups: Ints, count: int) -> sparse.csr_matrix:
    """Return the sparse matrix, [count, P], that sums P weighted rows by group."""
    shape = (count, len(groups))
    return sparse.csr_matrix((weights, (groups, np.arange(len(groups)))), shape=shape)
