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


def test_all_metrics_are_computed_on_the_same_resamples() -> None:
    column = np.random.default_rng(0).random(40)
    values = np.stack([column, 1 - column], axis=1)
    low, high = intervals(values, resamples=200, seed=0)
    assert low[0] == pytest.approx(1 - high[1])
    assert high[0] == pytest.approx(1 - low[1])


def test_the_interval_of_a_share_is_close_to_the_normal_approximation() -> None:
    # p = 0.3 of 2,000: 0.3 +- 1.96 sqrt(0.3 * 0.7 / 2000) = 0.3 +- 0.0201.
    values = (np.arange(2000) % 10 < 3).astype(float)[:, None]
    low, high = intervals(values, resamples=2000, seed=0)
    assert low[0] == pytest.approx(0.2799, abs=0.0015)
    assert high[0] == pytest.approx(0.3201, abs=0.0015)


def test_equal_values_have_no_width() -> None:
    assert intervals(np.ones((7, 1)), resamples=100, seed=0).tolist() == [[1], [1]]


def test_macro_intervals_are_those_of_a_direct_resampling_of_queries() -> None:
    # Twelve queries with one to three of seven classes: many resamples lack some class.
    rng = np.random.default_rng(2)
    pairs = [
        (query, int(label))
        for query in range(12)
        for label in rng.choice(7, size=rng.integers(1, 4), replace=False)
    ]
    queries, classes = np.array(pairs).T
    classes = np.unique(classes, return_inverse=True)[1]
    values = rng.random((len(pairs), 2))
    generator, means = np.random.default_rng(5), []
    for _ in range(77):
        sampled = generator.integers(12, size=12)
        rows = np.concatenate([np.flatnonzero(queries == query) for query in sampled])
        of_class = []
        for label in range(classes.max() + 1):
            found = rows[classes[rows] == label]
            whole_class = np.flatnonzero(classes == label)
            of_class.append(values[found if len(found) else whole_class].mean(axis=0))
        means.append(np.mean(of_class, axis=0))
    statistic = macro_mean_statistic(values, queries=queries, classes=classes)
    fast = bootstrap_intervals(statistic, queries=12, resamples=77, seed=5)
    np.testing.assert_allclose(fast, np.percentile(means, [2.5, 97.5], axis=0))


def test_a_macro_interval_is_around_its_mean_if_small_classes_are_worse() -> None:
    # Classes of one query score 0, those of ten score 0.8 +- 0.4: the macro mean is 0.4.
    large = np.repeat(np.arange(40), 10)
    values = np.concatenate([np.tile([0.0, 0.0] + [1.0] * 8, 40), np.zeros(40)])[:, None]
    classes = np.concatenate([large, np.arange(40, 80)])
    statistic = macro_mean_statistic(values, queries=np.arange(440), classes=classes)
    low, high = bootstrap_intervals(statistic, queries=440, resamples=1000, seed=0)[:, 0]
    # Half of 40 means of ten queries each: about 1.96 * 0.4 / sqrt(10 * 40) / 2 = 0.0196.
    assert (low, high) == pytest.approx((0.38, 0.42), abs=0.003)


def test_means_over_queries_and_over_classes_use_the_same_resamples() -> None:
    # With one class, the macro mean equals the mean over queries, in each resample.
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
