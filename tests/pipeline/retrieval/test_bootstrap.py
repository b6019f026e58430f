"""Intervals against a direct resampling of rows."""

import numpy as np
import pytest

from pipeline.retrieval.bootstrap import bootstrap_intervals


def naive_intervals(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        rows = values[rng.integers(len(values), size=len(values))]
        means.append(np.nanmean(rows, axis=0))
    return np.percentile(means, [2.5, 97.5], axis=0)


@pytest.mark.parametrize("resamples", [100, 333])
def test_intervals_are_those_of_a_direct_resampling(resamples: int) -> None:
    values = np.random.default_rng(1).random((50, 3))
    values[3:9, 1] = np.nan
    fast = bootstrap_intervals(values, resamples=resamples, seed=4)
    np.testing.assert_allclose(fast, naive_intervals(values, resamples=resamples, seed=4))


def test_one_resample_serves_all_metrics() -> None:
    column = np.random.default_rng(0).random(40)
    values = np.stack([column, 1 - column], axis=1)
    low, high = bootstrap_intervals(values, resamples=200, seed=0)
    assert low[0] == pytest.approx(1 - high[1])
    assert high[0] == pytest.approx(1 - low[1])


def test_the_interval_of_a_share_is_near_the_normal_one() -> None:
    # p = 0.3 of 2,000: 0.3 +- 1.96 sqrt(0.3 * 0.7 / 2000) = 0.3 +- 0.0201.
    values = (np.arange(2000) % 10 < 3).astype(float)[:, None]
    low, high = bootstrap_intervals(values, resamples=2000, seed=0)
    assert low[0] == pytest.approx(0.2799, abs=0.0015)
    assert high[0] == pytest.approx(0.3201, abs=0.0015)


def test_equal_values_have_no_width() -> None:
    assert bootstrap_intervals(np.ones((7, 1)), resamples=100, seed=0).tolist() == [[1], [1]]
