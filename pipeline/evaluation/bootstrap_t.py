"""The bootstrap-t of means over clustered queries: how far a mean is from the true one.

Whole units are resampled, and each resample's distance from the observed mean is divided by that
resample's own standard error (the bootstrap-t: Efron and Tibshirani 1993, ch. 12.5; of clusters:
Cameron, Gelbach and Miller 2008; of units with parts: Davison and Hinkley 1997, ch. 3.8), without
regard to its sign (Hall 1988). Unlike the percentiles of resampled means, it keeps its level with
only some tens of units.

If a query belongs to several units, as images with several labels do, the standard error is that
of a multiway cluster (Cameron, Gelbach and Miller 2011): of all pairs of queries that share any.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Ints
from pipeline.evaluation.clusters import Clusters
from pipeline.progress import show_progress

LEVEL = 0.95  # of an interval
RESAMPLES_AT_ONCE = 64  # bounds the memory of the weights to 64 x the number of units
# If more of all pairs of queries share a label, a single label may decide the mean, and the
# variance that it causes cannot be estimated from it alone.
MAX_RELATED = 0.5


@dataclass(frozen=True)
class UnitSums:
    """M means, each the ratio of two sums over the same U units.

    mean: float64 [M]. errors: float64 [U, M], the sum of value - mean in each unit; counts: float64
    [U, M], what the mean divides by, of each unit. related: float64 [M], the share of all pairs of
    queries that share a unit, 0 where each query has one unit.
    """

    mean: Floats
    errors: Floats
    counts: Floats
    related: Floats

    @property
    def standard_error(self) -> Floats:
        """Float64 [M]: sqrt(sum of errors^2 / (sum of counts)^2 * U / (U - 1))."""
        squares = (self.errors**2).sum(axis=0) * _correction(len(self.errors))
        error: Floats = np.sqrt(squares) / self.counts.sum(axis=0)
        return error

    @property
    def independent(self) -> Ints:
        """Int64 [M]: the units that have a part in each mean."""
        count: Ints = np.count_nonzero(self.counts, axis=0)
        return count

    def scale(self, t: Floats) -> Floats:
        """Return t times the standard error, float64 [R, M]: as far from the mean; 0 stays 0."""
        return np.multiply(t, self.standard_error, out=np.zeros_like(t), where=t > 0)


def sum_by_unit(values: Floats, clusters: Clusters) -> UnitSums:
    """Return the means over queries, [Q, M]; NaN is left out of its column.

    A query with several units gives each an equal part; the errors are then scaled to the standard
    error of the multiway cluster.
    """
    exists = ~np.isnan(values)
    counts, sums = (clusters.sum_by_set(x) for x in (exists, np.where(exists, values, 0)))
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    # The contribution of a set to the error of the mean; of a ratio, because sets differ in size.
    set_errors = sums - mean * counts
    scale, related = _multiway(clusters, counts, set_errors)
    errors = clusters.divide_among_units(set_errors) * scale
    return UnitSums(mean, errors, clusters.divide_among_units(counts), related)


def resample_units(units: UnitSums, *, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Return how far each resample's mean is from the observed one, and the same as t.

    Both float64 [R, M]; t is not negative, and infinite if all sampled units are equal but differ
    from the observed mean. All M means are computed on the same resamples.
    """
    rng = np.random.default_rng(seed)
    errors, counts = units.errors, units.counts
    least = 1e-12 * (errors**2).sum(axis=0)  # a smaller sum of squares is rounding
    shifts, t = [], []
    starts = range(0, resamples, RESAMPLES_AT_ONCE)
    for start in show_progress(starts, total=len(starts), what="resampling"):
        weights = sample_weights(rng, min(RESAMPLES_AT_ONCE, resamples - start), len(errors))
        count = np.maximum(weights @ counts, 1e-300)
        shift = weights @ errors / count  # (RESAMPLES_AT_ONCE, M)
        # The sum of w (e - shift n)^2, expanded: three products instead of a loop over resamples.
        squares = (
            weights @ errors**2
            - 2 * shift * (weights @ (errors * counts))
            + shift**2 * (weights @ counts**2)
        )
        squares[squares < least] = 0
        error = np.sqrt(squares * _correction(len(errors))) / count
        distance = np.abs(shift)
        without_error = np.where(distance > 1e-12, np.inf, 0.0)
        t.append(np.divide(distance, error, out=without_error, where=error > 0))
        shifts.append(distance)
    return np.concatenate(shifts), np.concatenate(t)


def sample_weights(rng: np.random.Generator, resamples: int, units: int) -> Floats:
    """Return float64 [resamples, units]: how often each resample holds each unit.

    Each resample samples `units` times with replacement.
    """
    weights = np.empty((resamples, units))
    for row in weights:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    return weights


def find_reach(distances: Floats, shifts: Floats) -> Floats:
    """Return how far an interval reaches to each side of its mean, float64 [M].

    It is the LEVEL quantile of `distances`, t times the standard error, float64 [R, M]. If only one
    or two units differ, many resamples hold none of them and have no variance, so that it is
    infinite; then it is that of `shifts`, float64 [R, M], as in the plain bootstrap.
    """
    reach = _quantile(distances)
    return np.where(np.isfinite(reach), reach, _quantile(shifts))


def _quantile(distances: Floats) -> Floats:
    """Return, for each column, the distance that the share LEVEL of the resamples stays within."""
    place = min(int(np.ceil(LEVEL * (len(distances) + 1))), len(distances)) - 1
    quantile: Floats = np.partition(distances, place, axis=0)[place]
    return quantile


def _correction(units: int) -> float:
    return units / max(units - 1, 1)


def _multiway(clusters: Clusters, counts: Floats, set_errors: Floats) -> tuple[Floats, Floats]:
    """Return the factor by which units' errors are too small, and the share of related pairs.

    counts, set_errors: float64 [S, M], of label sets. Both results: float64 [M].

    Dividing a query's error among its labels loses their correlation: the sum of e_u^2 should be
    the sum of e_q e_r over all pairs of queries that share a label, or the sum of squares of label
    sets if that is larger. Subtracting the common mean makes both too small by about the share of
    related pairs, which is 1 / U with one label each. So the factor is 1 with one label each.
    """
    if clusters.is_partition:
        return np.ones(counts.shape[1]), np.zeros(counts.shape[1])
    total = counts.sum(axis=0) ** 2
    related = clusters.sum_over_related_pairs(counts) / total
    of_units = (clusters.divide_among_units(set_errors) ** 2).sum(axis=0)
    of_pairs = np.maximum(clusters.sum_over_related_pairs(set_errors), (set_errors**2).sum(axis=0))
    related_in_units = (clusters.divide_among_units(counts) ** 2).sum(axis=0) / total
    lost = (1 - related_in_units) / np.maximum(1 - related, 1 - MAX_RELATED)
    ratio = np.divide(of_pairs, of_units, out=np.ones_like(of_pairs), where=of_units > 0)
    return np.sqrt(ratio * lost), related
