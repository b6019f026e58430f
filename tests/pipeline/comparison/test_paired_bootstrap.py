"""The paired bootstrap: equal to plain loops, right for 95% of simulations, and edge cases."""

import math

import numpy as np
import pytest

from pipeline.comparison.paired_bootstrap import paired_intervals
from pipeline.data.arrays import Floats, Ints
from pipeline.evaluation.clusters import Clusters, cluster_by_labels, cluster_by_unit

OPTIONS = {"degrees_of_freedom": 0, "resamples": 999, "seed": 3}


def intervals(
    differences: Floats, units: Ints | Clusters, seed_variance: float = 0, **options: int
) -> dict[str, Floats]:
    variances = np.full(differences.shape[1], float(seed_variance))
    clusters = units if isinstance(units, Clusters) else cluster_by_unit(units)
    return paired_intervals(differences, clusters, seed_variance=variances, **(OPTIONS | options))


def by_loops(values: list[float], units: list[int], resamples: int, seed: int) -> dict[str, float]:
    """Return the intervals of one metric without seed variance, by the docstring's formulas."""
    groups = [[v for v, u in zip(values, units, strict=True) if u == each] for each in set(units)]

    def summary(sampled: list[list[float]]) -> tuple[float, float]:
        count = sum(len(group) for group in sampled)
        mean = sum(sum(group) for group in sampled) / count
        squares = sum((sum(group) - mean * len(group)) ** 2 for group in sampled)
        return mean, math.sqrt(squares / count**2 * len(sampled) / (len(sampled) - 1))

    mean, error = summary(groups)
    rng, ts = np.random.default_rng(seed), []
    for _ in range(resamples):
        sampled = rng.integers(len(groups), size=len(groups))
        sample_mean, sample_error = summary([groups[each] for each in sampled])
        ts.append(abs(sample_mean - mean) / sample_error)
    reach = sorted(ts)[math.ceil(0.95 * (resamples + 1)) - 1] * error
    p = (1 + sum(t >= abs(mean) / error for t in ts)) / (1 + resamples)
    return {"difference": mean, "low": mean - reach, "high": mean + reach, "p": p}


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = np.sort(np.concatenate([np.arange(12), rng.integers(12, size=30)]))
    values = rng.normal(0.1, 0.3, (42, 1)) + rng.normal(0, 0.1, 12)[units][:, None]
    found = intervals(values, units, resamples=199, seed=seed)
    slow = by_loops(values[:, 0].tolist(), units.tolist(), 199, seed)
    assert {name: each[0] for name, each in found.items()} == pytest.approx(slow)


def simulate(classes: int, simulations: int) -> tuple[Floats, Ints]:
    """Return differences whose true mean is 0, [Q, simulations], and each query's class."""
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(classes), rng.integers(3, 15, classes))
    of_class = rng.exponential(size=(classes, simulations)) - 1  # skewed, as differences often are
    noise = rng.normal(size=(len(units), simulations))
    return 0.5 * of_class[units] + noise, units


@pytest.mark.parametrize("classes", [6, 25, 80])
def test_95_percent_of_intervals_contain_the_true_value(classes: int) -> None:
    differences, units = simulate(classes, simulations=2000)
    found = intervals(differences, units)
    contains = (found["low"] <= 0) & (found["high"] >= 0)
    assert 0.92 <= contains.mean() <= 0.98
    # p is at most 0.05 exactly if the interval excludes 0.
    assert np.array_equal(found["p"] <= 0.05, ~contains)


def test_with_single_queries_as_units_fewer_intervals_contain_it() -> None:
    differences, units = simulate(25, simulations=500)
    single = intervals(differences, np.arange(len(units)))
    assert ((single["low"] <= 0) & (single["high"] >= 0)).mean() < 0.88


def sample_label_sets(each: int, labels: int, queries: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(7)
    return [tuple(rng.choice(labels, each, replace=False).tolist()) for _ in range(queries)]


@pytest.mark.parametrize("labels", [25, 80])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_95_percent_contain_the_true_value_if_queries_have_several_labels(
    each: int, labels: int
) -> None:
    """The difference of a query is the mean of its labels' effects, plus noise."""
    rng, label_sets = np.random.default_rng(5), sample_label_sets(each, labels, 600)
    of_label = rng.exponential(size=(labels, 1000)) - 1
    noise = 0.5 * rng.normal(size=(600, 1000))
    differences = np.stack([of_label[list(known)].mean(axis=0) for known in label_sets]) + noise
    found = intervals(differences, cluster_by_labels(label_sets))
    contains = (found["low"] <= 0) & (found["high"] >= 0)
    assert 0.90 <= contains.mean() <= 0.98
    assert np.array_equal(found["p"] <= 0.05, ~contains)
    if each > 1:  # with label sets as units, as if they were independent
        sets = np.unique([sorted(known) for known in label_sets], axis=0, return_inverse=True)[1]
        narrow = intervals(differences, sets.ravel())
        assert ((narrow["low"] <= 0) & (narrow["high"] >= 0)).mean() < 0.85


def test_labels_equal_units_if_each_query_has_one() -> None:
    differences, units = simulate(25, simulations=3)
    differences[::7, 1] = np.nan
    one = intervals(differences, cluster_by_labels([(int(unit),) for unit in units]))
    other = intervals(differences, units)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_label_on_most_queries_makes_it_inconclusive() -> None:
    rng = np.random.default_rng(2)
    label_sets = [("person", f"{n % 30}") if n % 4 else (f"{n % 30}",) for n in range(300)]
    found = intervals(1 + rng.normal(0, 0.1, (300, 1)), cluster_by_labels(label_sets))
    assert (found["low"][0], found["high"][0], found["p"][0]) == (-np.inf, np.inf, 1)


@pytest.mark.parametrize(("units", "least"), [(6, 1 / 32), (9, 1 / 256)])
def test_p_is_at_least_that_of_a_sign_test(units: int, least: float) -> None:
    found = intervals(np.ones((units, 1)), np.arange(units), resamples=9999)
    assert (found["low"][0], found["high"][0]) == (1, 1)
    assert found["p"][0] == pytest.approx(least)


@pytest.mark.parametrize("units", [1, 2, 5])
def test_fewer_than_six_units_are_inconclusive(units: int) -> None:
    found = intervals(np.ones((units, 1)), np.arange(units), resamples=9999)
    assert (found["low"][0], found["high"][0], found["p"][0]) == (-np.inf, np.inf, 1)


def test_five_units_that_differ_are_not_significant() -> None:
    values = np.zeros((30, 1))
    values[:5] = 1
    found = intervals(values, np.arange(30), resamples=9999)
    assert found["p"][0] >= 1 / 16
    assert found["low"][0] <= 0 < found["high"][0] < 1


def test_one_query_with_many_labels_counts_as_one() -> None:
    found = intervals(np.ones((1, 1)), cluster_by_labels([range(30)]))
    assert (found["low"][0], found["high"][0], found["p"][0]) == (-np.inf, np.inf, 1)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    differences, units = simulate(25, simulations=3)
    first, same, other = (intervals(differences, units, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["high"], other["high"])


def test_equal_values_have_an_interval_of_zero() -> None:
    found = intervals(np.zeros((30, 1)), np.arange(30))
    assert {name: each[0] for name, each in found.items()} == {
        "difference": 0,
        "low": 0,
        "high": 0,
        "p": 1,
    }


def test_the_same_difference_for_all_queries_is_significant() -> None:
    found = intervals(np.full((30, 1), 0.25), np.arange(30))
    assert found["low"][0] == found["high"][0] == 0.25
    assert found["p"][0] == pytest.approx(0.001)


def test_two_queries_that_differ_are_not_significant_but_have_an_interval() -> None:
    values = np.zeros((30, 1))
    values[:2] = 1
    found = intervals(values, np.arange(30))
    assert found["p"][0] > 0.05
    assert found["low"][0] <= 0 < found["high"][0] < 1


def test_a_query_without_a_value_is_left_out() -> None:
    differences, units = simulate(25, simulations=1)
    missing = np.arange(len(units)) % 7 == 0
    with_gaps = np.where(missing[:, None], np.nan, differences)
    assert not set(units) - set(units[~missing])
    with_nan, without = (
        intervals(with_gaps, units),
        intervals(differences[~missing], units[~missing]),
    )
    assert all(with_nan[name] == pytest.approx(without[name]) for name in with_nan)


def test_seed_variance_widens_the_interval_more_with_fewer_degrees_of_freedom() -> None:
    differences, units = simulate(40, simulations=1)

    def width(**options: float) -> float:
        found = intervals(differences, units, **options)  # type: ignore[arg-type]
        return float((found["high"] - found["low"])[0])

    without, many, one = (
        width(),
        width(seed_variance=0.05, degrees_of_freedom=50),
        width(seed_variance=0.05, degrees_of_freedom=1),
    )
    assert without < many < one


def test_resampling_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    def show(items: range, *, total: int, what: str) -> range:
        bars.append((total, what))
        return items

    monkeypatch.setattr("pipeline.evaluation.bootstrap_t.show_progress", show)
    intervals(np.ones((8, 1)), np.arange(8), resamples=200)
    assert bars == [(4, "resampling")]
