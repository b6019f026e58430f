"""The paired bootstrap: intervals and p-values of mean differences over clustered queries.

Each resample's difference is divided by that resample's standard error (the bootstrap-t, Efron and
Tibshirani 1993, ch. 12.5; of whole clusters, Cameron, Gelbach and Miller 2008), symmetrically (Hall
1988). So p <= 0.05 exactly if the 95% interval excludes 0, and unlike intervals of percentiles it
keeps its level with only some tens of clusters.

If a query belongs to several clusters, as images with several labels do, the standard error is that
of a multiway cluster (Cameron, Gelbach and Miller 2011): of all pairs of queries that share any.
"""

import numpy as np

from pipeline.comparison.clusters import Clusters
from pipeline.data.arrays import Floats, Mask
from pipeline.evaluation.intervals import LEVEL, sample_weights
from pipeline.progress import show_progress

RESAMPLES_AT_ONCE = 64  # bounds the memory of the weights to 64 x the number of units
# With fewer units, even if all have one sign, random signs do the same more often than 1 - LEVEL.
MIN_UNITS = 6
# If more of all pairs of queries share a label, a single label may decide the mean, and the
# variance that it causes cannot be estimated from it alone.
MAX_RELATED = 0.5


def paired_intervals(
    differences: Floats,
    clusters: Clusters,
    *,
    seed_variance: Floats,
    degrees_of_freedom: int,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Return difference, low, high (of 95%) and p (two-sided) of M metrics: each float64 [M].

    differences: float64 [Q, M], B's value minus A's for each query; NaN is left out. clusters: the
    units of each query; units are resampled, with replacement. seed_variance: float64 [M], a
    variance to add, estimated with `degrees_of_freedom`; 0 degrees if there is none.

    With e_u = sum over unit u of (d - mean) and N queries of U units, the standard error is
    s = sqrt(sum of e_u^2 / N^2 * U / (U - 1) + seed_variance). A resample has its own mean and s:
    t* = |mean* - mean| / s*. The interval is mean -+ s * (95th percentile of t*), and p is the
    share of resamples with t* >= |mean| / s, plus one in both counts. A query with several units
    gives each an equal part, and e is scaled to the s of `_multiway`.

    p is at least 2^(1 - n) for n units with any difference (as in a sign test), and the interval
    then includes 0 if that is above 0.05. With fewer than MIN_UNITS units, or more than MAX_RELATED
    of the pairs of queries sharing a unit, the result is inconclusive: -inf to inf and p = 1.
    """
    exists = ~np.isnan(differences)
    counts, sums = (clusters.sum_by_set(x) for x in (exists, np.where(exists, differences, 0)))
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    # The contribution of a set to the error of the mean; of a ratio, because sets differ in size.
    set_errors = sums - mean * counts
    unit_counts = clusters.divide_among_units(counts)
    unit_errors = clusters.divide_among_units(set_errors)
    scale, related = _multiway(clusters, counts, set_errors)
    unit_errors *= scale
    error = np.sqrt(_variance(unit_errors, unit_counts) + seed_variance)
    shifts, t = _resample(
        unit_errors,
        unit_counts,
        seed_variance,
        degrees_of_freedom,
        resamples=resamples,
        seed=seed,
    )
    quantile = _quantile(t)
    # If only one or two units differ, many resamples hold none of them and have no variance. Then
    # the plain bootstrap of the difference gives the interval.
    reach = np.where(np.isfinite(quantile), quantile * error, _quantile(np.abs(shifts)))
    observed = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    p = (1 + (t >= observed).sum(axis=0)) / (1 + resamples)
    lowest_p = 2.0 ** (1 - _count_independent(clusters, np.abs(sums) > 1e-12))
    reach = np.where(lowest_p > 1 - LEVEL, np.maximum(reach, np.abs(mean)), reach)
    inconclusive = _count_independent(clusters, counts > 0) < MIN_UNITS
    inconclusive |= related > MAX_RELATED
    reach = np.where(inconclusive, np.inf, reach)
    p = np.where((mean == 0) | inconclusive, 1.0, np.clip(p, lowest_p, 1))
    return {"difference": mean, "low": mean - reach, "high": mean + reach, "p": p}


def _multiway(clusters: Clusters, counts: Floats, set_errors: Floats) -> tuple[Floats, Floats]:
    """Return the factor by which units' errors are too small, and the share of related pairs.

    counts, set_errors: float64 [S, M], of label sets. Both results: float64 [M].

    Dividing a query's error among its labels loses their correlation: the sum of e_u^2 should be
    the sum of e_q e_r over all pairs of queries that share a label, or the sum of squares of label
    sets if that is larger. Subtracting the common mean makes both too small by about the share of
    related pairs, which is 1 / U with one label each. So the factor is 1 with one label each.
    """
    total = counts.sum(axis=0) ** 2
    related = clusters.sum_over_related_pairs(counts) / total
    if clusters.is_partition:
        return np.ones_like(related), np.zeros_like(related)
    of_units = (clusters.divide_among_units(set_errors) ** 2).sum(axis=0)
    of_pairs = np.maximum(clusters.sum_over_related_pairs(set_errors), (set_errors**2).sum(axis=0))
    related_in_units = (clusters.divide_among_units(counts) ** 2).sum(axis=0) / total
    lost = (1 - related_in_units) / np.maximum(1 - related, 1 - MAX_RELATED)
    ratio = np.divide(of_pairs, of_units, out=np.ones_like(of_pairs), where=of_units > 0)
    return np.sqrt(ratio * lost), related


def _count_independent(clusters: Clusters, true: Mask) -> Floats:
    """Return for how many independent groups it is true, float64 [M]: label sets or units.

    The smaller number of the two: a single query with three labels is not three.

    true: bool [S, M].
    """
    units = (clusters.divide_among_units(true.astype(np.float64)) > 0).sum(axis=0)
    count: Floats = np.minimum(units, true.sum(axis=0)).astype(np.float64)
    return count


def _resample(
    errors: Floats,
    counts: Floats,
    seed_variance: Floats,
    degrees_of_freedom: int,
    *,
    resamples: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Return how far each resample's difference is from the observed one, and the same as t.

    Both float64 [R, M]; t is infinite if all sampled units are equal but differ from the observed
    mean. The effect of the seed is sampled too: normal, its variance with `degrees_of_freedom`.

    errors, counts: float64 [U, M], of units.
    """
    rng, seed_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    shifts, t = [], []
    starts = range(0, resamples, RESAMPLES_AT_ONCE)
    for start in show_progress(starts, total=len(starts), what="resampling"):
        size = min(RESAMPLES_AT_ONCE, resamples - start)
        weights = sample_weights(rng, size, len(errors))
        count = np.maximum(weights @ counts, 1e-300)
        shift = weights @ errors / count  # (size, M)
        # The sum of w (e - shift n)^2, expanded: three products instead of a loop over resamples.
        squares = (
            weights @ errors**2
            - 2 * shift * (weights @ (errors * counts))
            + shift**2 * (weights @ counts**2)
        )
        squares[squares < 1e-12 * (errors**2).sum(axis=0)] = 0  # rounding
        variance = squares / count**2 * _correction(len(errors))
        if degrees_of_freedom:
            normal = seed_rng.standard_normal((size, 1))
            shift = shift + normal * np.sqrt(seed_variance)
            chi_squares = seed_rng.chisquare(degrees_of_freedom, (size, 1))
            variance = variance + seed_variance * chi_squares / degrees_of_freedom
        without_variance = np.where(np.abs(shift) > 1e-12, np.inf, 0.0)
        t.append(
            np.divide(np.abs(shift), np.sqrt(variance), out=without_variance, where=variance > 0)
        )
        shifts.append(shift)
    return np.concatenate(shifts), np.concatenate(t)


def _variance(errors: Floats, counts: Floats) -> Floats:
    """Return the variance of a mean, by its units: sum of e^2 / (sum of n)^2 * U / (U - 1)."""
    variance: Floats = (errors**2).sum(axis=0) / counts.sum(axis=0) ** 2 * _correction(len(errors))
    return variance


def _correction(units: int) -> float:
    return units / max(units - 1, 1)


def _quantile(distances: Floats) -> Floats:
    """Return, for each column, the distance that the share LEVEL of the resamples stays within."""
    ordered = np.sort(distances, axis=0)
    place = int(np.ceil(LEVEL * (len(ordered) + 1))) - 1
    quantile: Floats = ordered[min(place, len(ordered) - 1)]
    return quantile
