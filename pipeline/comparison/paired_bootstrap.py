"""The paired bootstrap: how sure a mean difference is, over queries that come in groups.

Each resample's difference is divided by that resample's own standard error (the bootstrap-t, Efron
and Tibshirani 1993, ch. 12.5; of whole clusters, Cameron, Gelbach and Miller 2008), on both sides
alike (Hall 1988). So p <= 0.05 just where the 95% interval leaves 0 out, and unlike percentiles it
keeps its level for some tens of groups.

Where a query belongs to several groups, as images with several labels do, the standard error is
that of a multiway cluster (Cameron, Gelbach and Miller 2011): all pairs of queries that share any.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison.clusters import Clusters
from pipeline.data.arrays import Floats
from pipeline.progress import show_progress

LEVEL = 0.95
BLOCK = 64  # resamples at once: bounds the weights at 64 x the number of units
# With fewer, not even units that all agree are rarer than 1 - LEVEL among random signs.
FEWEST_UNITS = 6
# Where more of all pairs of queries share a label, one label alone may decide the mean, and its
# chance cannot be seen within it.
MOST_SHARED = 0.5


def paired_intervals(
    differences: Floats,
    clusters: Clusters,
    *,
    seed_variance: Floats,
    freedom: int,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Return difference, low, high (of 95%) and p (two-sided) of M metrics: each float64 [M].

    differences: float64 [Q, M], B's value less A's of each query; NaN is left out. clusters: to
    which units each query belongs: units are resampled, with replacement. seed_variance: float64
    [M], a variance that is added, estimated from `freedom` squares; 0 squares where there is none.

    With e_u = sum over unit u of (d - mean) and N queries of U units, the standard error is
    s = sqrt(sum of e_u^2 / N^2 * U / (U - 1) + seed_variance). A resample has its own mean and s:
    t* = |mean* - mean| / s*; the interval is mean -+ s * (95th percentile of t*), and p is the
    share of resamples whose t* is at least |mean| / s, each of both counted once more. Of several
    units, a query gives each an equal part, and e is scaled to the s of `_multiway`.

    p is at least 2^(1 - n) for n units that differ at all (a sign test gives no less), and the
    interval then reaches to 0 where that is above 0.05. With fewer than FEWEST_UNITS units, or more
    than MOST_SHARED of the pairs of queries sharing one, it is -inf to inf and p is 1.
    """
    there = ~np.isnan(differences)
    counts, sums = (clusters.sum_by_set(x) for x in (there, np.where(there, differences, 0)))
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    # What a unit adds to the error of the mean; that of a ratio, since units differ in size.
    of_sets = sums - mean * counts
    shares, errors = clusters.share_out(counts), clusters.share_out(of_sets)
    scale, shared = _multiway(clusters, counts, of_sets)
    errors *= scale
    error = np.sqrt(_variance(errors, shares) + seed_variance)
    moved, t = _resample(errors, shares, seed_variance, freedom, resamples=resamples, seed=seed)
    sampled = _quantile(t)
    # One or two units that differ at all are often not sampled, and then there is nothing to divide
    # by; the plain bootstrap of the difference then says that it may be none.
    reach = np.where(np.isfinite(sampled), sampled * error, _quantile(np.abs(moved)))
    observed = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    p = (1 + (t >= observed).sum(axis=0)) / (1 + resamples)
    least = 2.0 ** (1 - _fewest(clusters, np.abs(sums) > 1e-12))
    reach = np.where(least > 1 - LEVEL, np.maximum(reach, np.abs(mean)), reach)
    inconclusive = (_fewest(clusters, counts > 0) < FEWEST_UNITS) | (shared > MOST_SHARED)
    reach = np.where(inconclusive, np.inf, reach)
    p = np.where((mean == 0) | inconclusive, 1.0, np.clip(p, least, 1))
    return {"difference": mean, "low": mean - reach, "high": mean + reach, "p": p}


def _multiway(clusters: Clusters, counts: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Return by how much units' errors are too small, and the share of pairs of queries that share.

    counts, errors: float64 [S, M], of label sets. Both of the result: float64 [M]. Dividing a
    query's error among its labels loses what they have to do with each other: the sum of e_u^2 is
    to be the sum of e_q e_r over all pairs of queries that share a label, or the sum of squares of
    label sets where that comes out smaller. The mean is of the same queries, which makes both too
    small by about the share of the pairs, 1 / U where there is one label each. So the scale is 1
    with one label each.
    """
    total = counts.sum(axis=0) ** 2
    shared = clusters.sum_shared(counts) / total
    if clusters.is_partition:
        return np.ones_like(shared), np.zeros_like(shared)
    alone = (clusters.share_out(errors) ** 2).sum(axis=0)
    pairs = np.maximum(clusters.sum_shared(errors), (errors**2).sum(axis=0))
    own = (clusters.share_out(counts) ** 2).sum(axis=0) / total
    lost = (1 - own) / np.maximum(1 - shared, 1 - MOST_SHARED)
    ratio = np.divide(pairs, alone, out=np.ones_like(pairs), where=alone > 0)
    return np.sqrt(ratio * lost), shared


def _fewest(clusters: Clusters, true: NDArray[np.bool_]) -> Floats:
    """Return of how many independent things it is true: of label sets, and of units: [M].

    true: bool [S, M]. A single query with three labels is not three.
    """
    units = (clusters.share_out(true.astype(np.float64)) > 0).sum(axis=0)
    fewest: Floats = np.minimum(units, true.sum(axis=0)).astype(np.float64)
    return fewest


def _resample(
    errors: Floats,
    counts: Floats,
    seed_variance: Floats,
    freedom: int,
    *,
    resamples: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Return how far each resample's difference lies from the observed one, plain and as t.

    Both float64 [R, M]; t is infinite where all sampled units are alike but not as the observed
    mean. The seed variance is sampled with them: normal, its variance known by `freedom` squares.
    """
    rng = np.random.default_rng(seed)
    sample_seed_variance = np.random.default_rng([seed, 1])
    moved, t = [], []
    starts = range(0, resamples, BLOCK)
    for start in show_progress(starts, total=len(starts), what="resampling"):
        size = min(BLOCK, resamples - start)
        weights = _sample_weights(rng, size, len(errors))
        count = np.maximum(weights @ counts, 1e-300)
        shift = weights @ errors / count  # (size, M)
        # Of sum w (e - shift n)^2, expanded: one product each instead of a loop over resamples.
        squares = (
            weights @ errors**2
            - 2 * shift * (weights @ (errors * counts))
            + shift**2 * (weights @ counts**2)
        )
        squares[squares < 1e-12 * (errors**2).sum(axis=0)] = 0  # rounding
        variance = squares / count**2 * _correction(len(errors))
        if freedom:
            normal = sample_seed_variance.standard_normal((size, 1))
            shift = shift + normal * np.sqrt(seed_variance)
            variance = (
                variance
                + seed_variance * sample_seed_variance.chisquare(freedom, (size, 1)) / freedom
            )
        zero = np.where(np.abs(shift) > 1e-12, np.inf, 0.0)
        t.append(np.divide(np.abs(shift), np.sqrt(variance), out=zero, where=variance > 0))
        moved.append(shift)
    return np.concatenate(moved), np.concatenate(t)


def _sample_weights(rng: np.random.Generator, resamples: int, units: int) -> Floats:
    """Return float64 [resamples, units]: how often each resample draws each unit."""
    sampled = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(sampled.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def _variance(errors: Floats, counts: Floats) -> Floats:
    """Return the variance of a mean, by its units: sum of e^2 / (sum of n)^2 * U / (U - 1)."""
    variance: Floats = (errors**2).sum(axis=0) / counts.sum(axis=0) ** 2 * _correction(len(errors))
    return variance


def _correction(units: int) -> float:
    return units / max(units - 1, 1)


def _quantile(distances: Floats) -> Floats:
    """Return the distance, of each column, that the share LEVEL of the resamples stay within."""
    ordered = np.sort(distances, axis=0)
    place = int(np.ceil(LEVEL * (len(ordered) + 1))) - 1
    quantile: Floats = ordered[min(place, len(ordered) - 1)]
    return quantile
