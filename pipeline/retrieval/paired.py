"""The paired bootstrap: how sure a mean difference is, over queries that were drawn in groups.

Each resample's difference is divided by that resample's own standard error (the bootstrap-t, Efron
and Tibshirani 1993, ch. 12.5; of whole clusters, Cameron, Gelbach and Miller 2008), on both sides
alike (Hall 1988). So p <= 0.05 just where the 95% interval leaves 0 out, and unlike percentiles it
keeps its level for some tens of groups.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95
BLOCK = 64  # resamples drawn at once: bounds the weights at 64 x the number of units


def paired_intervals(
    differences: Floats,
    units: Ints,
    *,
    luck: Floats,
    freedom: int,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Return difference, low, high (of 95%) and p (two-sided) of M metrics: each float64 [M].

    differences: float64 [Q, M], B's value less A's of each query; NaN is left out. units: int64
    [Q], which unit each query belongs to, from 0 on: units are what is drawn, with replacement.
    luck: float64 [M], a variance that comes on top, estimated from `freedom` squares; 0 squares
    where there is none.

    With e_u = sum over unit u of (d - mean) and N queries of U units, the standard error is
    s = sqrt(sum of e_u^2 / N^2 * U / (U - 1) + luck). A resample has a mean and an s of its own,
    t* = |mean* - mean| / s*; the interval is mean -+ s * (95th percentile of t*), and p is the
    share of resamples whose t* is at least |mean| / s, each of both counted once more.
    """
    there = ~np.isnan(differences)
    counts, sums = (_sum(values, units) for values in (there, np.where(there, differences, 0)))
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    # What a unit adds to the error of the mean; that of a ratio, since units differ in size.
    errors = sums - mean * counts
    variance = _variance(errors, counts) + luck
    moved, t = _resample(errors, counts, luck, freedom, resamples=resamples, seed=seed)
    scale = np.sqrt(variance)
    drawn = _quantile(np.abs(t))
    # One or two units that differ at all are often not drawn, and then there is nothing to divide
    # by; the plain bootstrap of the difference then says that it may be none.
    reach = np.where(np.isfinite(drawn), drawn * scale, _quantile(np.abs(moved)))
    observed = np.divide(np.abs(mean), scale, out=np.where(mean == 0, 0.0, np.inf), where=scale > 0)
    as_large = (np.abs(t) >= observed).sum(axis=0)
    p = np.where(mean == 0, 1.0, (1 + as_large) / (1 + resamples))
    return {"difference": mean, "low": mean - reach, "high": mean + reach, "p": p}


def _resample(
    errors: Floats, counts: Floats, luck: Floats, freedom: int, *, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Return how far each resample's difference lies from the observed one, plain and as t.

    Both float64 [R, M]; t is infinite where all units drawn are alike but not as the observed
    mean. The luck of training is drawn with them: normal, its variance known by `freedom` squares.
    """
    rng = np.random.default_rng(seed)
    draw_luck = np.random.default_rng([seed, 1])
    moved, t = [], []
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        weights = _draw_weights(rng, size, len(errors))
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
            normal = draw_luck.standard_normal((size, 1))
            shift = shift + normal * np.sqrt(luck)
            variance = variance + luck * draw_luck.chisquare(freedom, (size, 1)) / freedom
        zero = np.where(np.abs(shift) > 1e-12, np.inf, 0.0)
        t.append(np.divide(np.abs(shift), np.sqrt(variance), out=zero, where=variance > 0))
        moved.append(shift)
    return np.concatenate(moved), np.concatenate(t)


def _draw_weights(rng: np.random.Generator, resamples: int, units: int) -> Floats:
    """Return float64 [resamples, units]: how often each resample draws each unit."""
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * units)
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


def _sum(values: Floats | NDArray[np.bool_], units: Ints) -> Floats:
    sums = np.zeros((units.max() + 1, values.shape[1]))
    np.add.at(sums, units, values)
    return sums
