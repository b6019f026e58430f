"""Intervals of means over queries and over classes, against plain loops."""

import math

import numpy as np
import pytest

from pipeline.data.arrays import Floats, Ints
from pipeline.data.label_sets import from_lists
from pipeline.evaluation.bootstrap_t import UnitSums, resample_units, sample_weights, sum_by_unit
from pipeline.evaluation.clusters import cluster_by_label_sets, cluster_by_unit
from pipeline.evaluation.intervals import bootstrap_intervals, doubt_certainty, sum_by_class


def over_queries(values: Floats, units: Ints | None = None) -> UnitSums:
    return sum_by_unit(values, cluster_by_unit(np.arange(len(values)) if units is None else units))


def naive_interval(
    parts: list[list[tuple[float, float]]], *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the interval of a weighted mean. parts: of each unit, its (weight, value)."""

    def summary(units: list[list[tuple[float, float]]]) -> tuple[float, float]:
        total = sum(weight for unit in units for weight, _ in unit)
        mean = sum(weight * value for unit in units for weight, value in unit) / total
        squares = sum(sum(w * (value - mean) for w, value in unit) ** 2 for unit in units)
        return mean, math.sqrt(squares * len(units) / (len(units) - 1)) / total

    mean, error = summary(parts)
    rng, ts = np.random.default_rng(seed), []
    for _ in range(resamples):
        sampled = [parts[each] for each in rng.integers(len(parts), size=len(parts))]
        sample_mean, sample_error = summary(sampled)
        ts.append(abs(sample_mean - mean) / sample_error)
    reach = sorted(ts)[math.ceil(0.95 * (resamples + 1)) - 1] * error
    return mean - reach, mean + reach


@pytest.mark.parametrize("resamples", [100, 333])
def test_intervals_of_queries_are_those_of_plain_loops(resamples: int) -> None:
    values = np.random.default_rng(1).random((50, 1))
    found = bootstrap_intervals(over_queries(values), resamples=resamples, seed=4)
    parts = [[(1.0, value)] for value in values[:, 0]]
    assert found[:, 0] == pytest.approx(naive_interval(parts, resamples=resamples, seed=4))


@pytest.mark.parametrize("by_class", [True, False])
def test_macro_intervals_are_those_of_plain_loops(by_class: bool) -> None:
    rng = np.random.default_rng(2)
    classes = np.concatenate([np.arange(9), rng.integers(9, size=31)])
    values = rng.random((40, 1))
    units = classes if by_class else np.arange(40)
    sums = sum_by_class(values, classes, units, unit_count=units.max() + 1)
    sizes = np.bincount(classes)
    parts = [
        [(1 / sizes[classes[q]], values[q, 0]) for q in np.flatnonzero(units == unit)]
        for unit in range(units.max() + 1)
    ]
    found = bootstrap_intervals(sums, resamples=99, seed=5)
    assert found[:, 0] == pytest.approx(naive_interval(parts, resamples=99, seed=5))
    means = [values[classes == each].mean() for each in range(9)]
    assert sums.mean == pytest.approx([np.mean(means)])


@pytest.mark.parametrize("by_class", [True, False])
def test_with_classes_of_one_size_micro_and_macro_have_one_interval(by_class: bool) -> None:
    classes = np.repeat(np.arange(12), 5)
    values = np.random.default_rng(0).random((60, 2))
    units = classes if by_class else np.arange(60)
    macro = sum_by_class(values, classes, units, unit_count=units.max() + 1)
    found = bootstrap_intervals(over_queries(values, units), macro, resamples=100, seed=0)
    np.testing.assert_allclose(found[:, :2], found[:, 2:], rtol=1e-12)


def test_a_query_with_several_classes_adds_to_the_error_of_the_macro_mean() -> None:
    """The variance is the sum of e e' over all pairs that share the class or the query."""
    rng = np.random.default_rng(3)
    sets = [sorted(rng.choice(8, rng.integers(1, 4), replace=False).tolist()) for _ in range(40)]
    queries = np.repeat(np.arange(40), [len(known) for known in sets])
    classes = np.concatenate(sets)
    values = (rng.normal(size=40)[queries] + 0.1 * rng.normal(size=len(queries)))[:, None]
    found = sum_by_class(values, classes, classes, unit_count=8, queries=queries)
    errors = (values[:, 0] - found.mean) / np.bincount(classes)[classes]
    shares = (classes[:, None] == classes) | (queries[:, None] == queries)
    variance = (np.outer(errors, errors) * shares).sum() * 8 / 7 / 8**2
    assert found.standard_error == pytest.approx([math.sqrt(variance)])
    assert (
        found.standard_error > sum_by_class(values, classes, classes, unit_count=8).standard_error
    )


def test_units_of_micro_and_macro_are_the_same_classes() -> None:
    labels = from_lists([[7], [3, 7], [3], [3, 7], [9]])
    clusters = cluster_by_label_sets(labels)
    assert clusters.sets.tolist() == [0, 1, 2, 1, 3]
    assert clusters.labels.toarray().tolist() == [[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]
    single = cluster_by_label_sets(from_lists([[7], [3], [9], [7]]))
    assert (single.sets.tolist(), single.is_partition) == ([1, 0, 2, 1], True)


def test_the_interval_of_a_share_is_close_to_the_normal_approximation() -> None:
    # p = 0.3 of 2,000: 0.3 +- 1.96 sqrt(0.3 * 0.7 / 2000) = 0.3 +- 0.0201.
    values = (np.arange(2000) % 10 < 3).astype(float)[:, None]
    low, high = bootstrap_intervals(over_queries(values), resamples=2000, seed=0)
    assert (low[0], high[0]) == pytest.approx((0.2799, 0.3201), abs=0.0015)


def test_a_value_that_is_missing_is_left_out_of_its_column() -> None:
    values = np.random.default_rng(1).random((50, 2))
    values[3:9, 1] = np.nan
    sums = over_queries(values)
    assert sums.mean == pytest.approx(np.nanmean(values, axis=0))
    assert sums.independent.tolist() == [50, 44]
    assert np.isfinite(bootstrap_intervals(sums, resamples=50, seed=0)).all()


def test_equal_values_have_no_width() -> None:
    found = bootstrap_intervals(over_queries(np.full((7, 1), 0.25)), resamples=100, seed=0)
    assert found.tolist() == [[0.25], [0.25]]


def test_one_exception_among_equal_values_has_an_interval() -> None:
    values = np.ones((60, 1))
    values[0] = 0
    low, high = bootstrap_intervals(over_queries(values), resamples=200, seed=0)
    assert 0.9 < low[0] < 59 / 60 < high[0]


def test_of_a_single_unit_nothing_is_known() -> None:
    found = bootstrap_intervals(over_queries(np.ones((1, 1))), resamples=10, seed=0)
    assert found.tolist() == [[-math.inf], [math.inf]]


def test_a_label_on_most_queries_makes_it_infinite() -> None:
    labels = from_lists([[0, 1 + n % 30] if n % 4 else [1 + n % 30] for n in range(300)])
    values = np.random.default_rng(2).random((300, 1))
    sums = sum_by_unit(values, cluster_by_label_sets(labels))
    assert np.isinf(bootstrap_intervals(sums, resamples=50, seed=0)).all()


@pytest.mark.parametrize("units", [1, 6, 80])
def test_equal_ones_or_zeros_leave_room_for_what_would_be_missed_in_1_of_20_samples(
    units: int,
) -> None:
    low, high = doubt_certainty(1, units)
    assert (low**units, high) == (pytest.approx(0.05), 1)
    assert doubt_certainty(0, units) == (0, pytest.approx(1 - low))


@pytest.mark.parametrize("equal", [0.1, 1 / 3, 0.7])
def test_a_resample_of_equal_units_has_no_variance_whatever_its_rounding(equal: float) -> None:
    """Only the last of the units differs. A resample without it is infinitely far, as t."""
    values = np.full((20, 1), equal)
    values[-1] = 0.9
    _, t = resample_units(over_queries(values), resamples=200, seed=3)
    rng = np.random.default_rng(3)
    weights = np.concatenate([sample_weights(rng, count, 20) for count in (64, 64, 64, 8)])
    assert np.isinf(t[:, 0]).tolist() == (weights[:, -1] == 0).tolist()
    assert not np.isnan(t).any()
