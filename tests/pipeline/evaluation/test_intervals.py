"""Intervals against a direct resampling of rows."""

import numpy as np
import pytest

from pipeline.evaluation.intervals import (
    bootstrap_intervals,
    macro_mean_statistic,
    query_mean_statistic,
)


def intervals(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    return bootstrap_intervals(
        query_mean_statistic(values), queries=len(values), resamples=resamples, seed=seed
    )


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
    fast = intervals(values, resamples=resamples, seed=4)
    np.testing.assert_allclose(fast, naive_intervals(values, resamples=resamples, seed=4))


def test_one_resample_serves_all_metrics() -> None:
    column = np.random.default_rng(0).random(40)
    values = np.stack([column, 1 - column], axis=1)
    low, high = intervals(values, resamples=200, seed=0)
    assert low[0] == pytest.approx(1 - high[1])
    assert high[0] == pytest.approx(1 - low[1])


def test_the_interval_of_a_share_is_near_the_normal_one() -> None:
    # p = 0.3 of 2,000: 0.3 +- 1.96 sqrt(0.3 * 0.7 / 2000) = 0.3 +- 0.0201.
    values = (np.arange(2000) % 10 < 3).astype(float)[:, None]
    low, high = intervals(values, resamples=2000, seed=0)
    assert low[0] == pytest.approx(0.2799, abs=0.0015)
    assert high[0] == pytest.approx(0.3201, abs=0.0015)


def test_equal_values_have_no_width() -> None:
    assert intervals(np.ones((7, 1)), resamples=100, seed=0).tolist() == [[1], [1]]


def test_macro_intervals_are_those_of_a_direct_resampling_of_queries() -> None:
    # Twelve queries of one to three of seven classes: many a resample lacks some class.
    rng = np.random.default_rng(2)
    pairs = [
        (query, int(label))
        for query in range(12)
        for label in rng.choice(7, size=rng.integers(1, 4), replace=False)
    ]
    queries, classes = np.array(pairs).T
    classes = np.unique(classes, return_inverse=True)[1]
    values = rng.random((len(pairs), 2))
    draws, means = np.random.default_rng(5), []
    for _ in range(77):
        drawn = draws.integers(12, size=12)
        rows = np.concatenate([np.flatnonzero(queries == query) for query in drawn])
        of_class = []
        for label in range(classes.max() + 1):
            found = rows[classes[rows] == label]
            all_of_it = np.flatnonzero(classes == label)
            of_class.append(values[found if len(found) else all_of_it].mean(axis=0))
        means.append(np.mean(of_class, axis=0))
    statistic = macro_mean_statistic(values, queries=queries, classes=classes)
    fast = bootstrap_intervals(statistic, queries=12, resamples=77, seed=5)
    np.testing.assert_allclose(fast, np.percentile(means, [2.5, 97.5], axis=0))


def test_a_macro_interval_lies_about_its_mean_where_small_classes_are_the_worse_ones() -> None:
    # Classes of one query score 0, those of ten score 0.8 +- 0.4: the macro mean is 0.4.
    large = np.repeat(np.arange(40), 10)
    values = np.concatenate([np.tile([0.0, 0.0] + [1.0] * 8, 40), np.zeros(40)])[:, None]
    classes = np.concatenate([large, np.arange(40, 80)])
    statistic = macro_mean_statistic(values, queries=np.arange(440), classes=classes)
    low, high = bootstrap_intervals(statistic, queries=440, resamples=1000, seed=0)[:, 0]
    # Half of 40 means of ten queries each: 1.96 * 0.4 / sqrt(10 * 40) / 2 = 0.0196, and a bit.
    assert (low, high) == pytest.approx((0.38, 0.42), abs=0.003)


def test_queries_and_classes_move_together() -> None:
    # Of one class, the macro mean is the mean over queries, in each resample.
    values = np.random.default_rng(0).random((9, 1))
    one = np.zeros(9, dtype=int)
    low, high = bootstrap_intervals(
        query_mean_statistic(values),
        macro_mean_statistic(values, queries=np.arange(9), classes=one),
        queries=9,
        resamples=100,
        seed=0,
    )
    assert (low[0], high[0]) == pytest.approx((low[1], high[1]))
