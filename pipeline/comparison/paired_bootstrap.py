"""The paired bootstrap: intervals and p-values of mean differences over clustered queries.

It is the bootstrap-t of `pipeline.evaluation.bootstrap_t`, so p <= 0.05 exactly if the 95% interval
excludes 0. Seed variance is added as Student's t with its own degrees of freedom.
"""

import numpy as np

from pipeline.data.arrays import Floats, Mask
from pipeline.evaluation.bootstrap_t import (
    LEVEL,
    MAX_RELATED,
    find_reach,
    resample_units,
    sum_by_unit,
)
from pipeline.evaluation.clusters import Clusters

# With fewer units, even if all have one sign, random signs do the same more often than 1 - LEVEL.
MIN_UNITS = 6


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
    s = sqrt(sum of e_u^2 / N^2 * U / (U - 1)). A resample has its own mean and s:
    t* = |mean* - mean| / s*. Its distance is |t* s + T sqrt(seed_variance)|, with T sampled from
    Student's t. The interval is mean -+ (95th percentile of the distances), and p is the share of
    resamples with a distance >= |mean|, plus one in both counts. A query with several units gives
    each an equal part, and e is scaled to the s of a multiway cluster.

    p is at least 2^(1 - n) for n units with any difference (as in a sign test), and the interval
    then includes 0 if that is above 0.05. With fewer than MIN_UNITS units, or more than MAX_RELATED
    of the pairs of queries sharing a unit, the result is inconclusive: -inf to inf and p = 1.
    """
    units = sum_by_unit(differences, clusters)
    shifts, t = resample_units(units, resamples=resamples, seed=seed)
    noise = _sample_seed_noise(seed_variance, degrees_of_freedom, resamples=resamples, seed=seed)
    distances, shifts = np.abs(units.scale(t) + noise), np.abs(shifts + noise)
    reach = find_reach(distances, shifts)
    size = np.abs(units.mean)
    p = (1 + (distances >= size * (1 - 1e-12)).sum(axis=0)) / (1 + resamples)
    lowest_p = 2.0 ** (1 - _count_differing(differences, clusters))
    reach = np.where(lowest_p > 1 - LEVEL, np.maximum(reach, size), reach)
    inconclusive = _count_independent(clusters, ~np.isnan(differences)) < MIN_UNITS
    inconclusive |= units.related > MAX_RELATED
    reach = np.where(inconclusive, np.inf, reach)
    p = np.where((units.mean == 0) | inconclusive, 1.0, np.clip(p, lowest_p, 1))
    return {"difference": units.mean, "low": units.mean - reach, "high": units.mean + reach, "p": p}


def _sample_seed_noise(
    seed_variance: Floats, degrees_of_freedom: int, *, resamples: int, seed: int
) -> Floats:
    """Return float64 [R, M]: T sqrt(seed_variance), with T of Student's t; 0 without degrees.

    The sum of two such t, each times its own standard error, is the solution of Behrens and Fisher
    (Fisher 1935; Barnard 1984): it does not trust a seed variance that is small by chance, as a
    bootstrap with that variance would, and is exact if the other error is 0.
    """
    if not degrees_of_freedom:
        return np.zeros((resamples, len(seed_variance)))
    rng = np.random.default_rng([seed, 1])
    noise: Floats = rng.standard_t(degrees_of_freedom, (resamples, 1)) * np.sqrt(seed_variance)
    return noise


def _count_differing(differences: Floats, clusters: Clusters) -> Floats:
    """Return how many independent groups have a mean difference that is not 0, float64 [M]."""
    sums = clusters.sum_by_set(np.nan_to_num(differences))
    return _count_groups(clusters, np.abs(sums) > 1e-12)


def _count_independent(clusters: Clusters, exists: Mask) -> Floats:
    """Return how many independent groups have a query that exists, bool [Q, M]: float64 [M]."""
    return _count_groups(clusters, clusters.sum_by_set(exists) > 0)


def _count_groups(clusters: Clusters, true: Mask) -> Floats:
    """Return for how many independent groups it is true, float64 [M]: label sets or units.

    The smaller number of the two: a single query with three labels is not three.

    true: bool [S, M].
    """
    units = (clusters.divide_among_units(true.astype(np.float64)) > 0).sum(axis=0)
    count: Floats = np.minimum(units, true.sum(axis=0)).astype(np.float64)
    return count
