"""Two sides over the queries that both have: metrics, units, corrections and seed variance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison.compare import (
    Side,
    compare,
    compare_all,
    correct_by_holm,
    estimate_seed_variance,
)
from pipeline.errors import UserError

CLASSES, EACH = 24, 4
IDS = [f"{c:02}/{n}" for c in range(CLASSES) for n in range(EACH)]
CLASS_OF = pd.Series([(image_id[:2],) for image_id in IDS], index=IDS)


def table(average: Sequence[float] | np.ndarray, ids: Sequence[str] = IDS) -> pd.DataFrame:
    """Return a QUERIES table with two metrics; of one of them, higher is not better."""
    values = np.asarray(average, dtype=np.float64)
    return pd.DataFrame(
        {
            "image_id": ids,
            "positives": np.where(np.isnan(values), 0, 3),
            "first_hit_rank": pd.array([1] * len(ids), dtype="Int32"),
            "average_precision": values,
            "cosine_positive": values / 2,
        }
    )


def make_table(mean: float, seed: int, spread: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return table(mean + rng.normal(0, spread, len(IDS)))


def test_metrics_are_means_over_shared_queries_with_the_names_of_the_report() -> None:
    a, b = table([0.5, 0.1, 0.9], ["x", "y", "z"]), table([0.2, 0.4, 0.7], ["y", "w", "x"])
    classes = pd.Series([("c",)] * 4, index=list("wxyz"))
    found = compare(Side([a], True), Side([b], True), classes)
    assert (found.shared, found.only_a, found.only_b) == (2, 1, 1)
    assert list(found.metrics["metric"]) == ["map", "cosine_positive"]
    row = found.metrics.iloc[0]
    assert row["queries"] == 2
    assert [row["a"], row["b"], row["difference"]] == pytest.approx([0.3, 0.45, 0.15])


def test_queries_are_paired_by_image_id() -> None:
    a = make_table(0.5, seed=1)
    found = compare(Side([a], True), Side([a.sample(frac=1, random_state=1)], True), CLASS_OF)
    assert found.metrics["difference"].tolist() == [0, 0]
    assert found.metrics["p"].tolist() == [1, 1]
    assert found.identical
    assert not compare(Side([a], True), Side([make_table(0.5, seed=2)], True), CLASS_OF).identical


def test_where_nothing_was_measured_nothing_is_compared() -> None:
    empty = Side([table([], [])], True)
    with pytest.raises(UserError) as error:
        compare(empty, empty, CLASS_OF)
    assert str(error.value) == (
        "A and B: nothing was measured, because no image can be a query; allowed: models of images "
        "with two classes or more"
    )


def test_a_query_without_positives_has_no_difference() -> None:
    a, b = make_table(0.5, seed=1), make_table(0.6, seed=2)
    b.loc[3, ["average_precision", "cosine_positive"]] = np.nan
    found = compare(Side([a], True), Side([b], True), CLASS_OF)
    assert found.metrics["queries"].tolist() == [len(IDS) - 1] * 2
    kept = [place for place in range(len(IDS)) if place != 3]
    assert found.metrics.loc[0, "a"] == pytest.approx(a.loc[kept, "average_precision"].mean())


def test_whole_classes_are_resampled_unless_there_are_few() -> None:
    a, b = Side([make_table(0.5, seed=1)], True), Side([make_table(0.6, seed=2)], True)
    for classes, new, by_class in (
        *((24, False, True), (20, False, True), (19, False, False), (1, False, False)),
        *((19, True, True), (6, True, True), (5, True, False)),
    ):
        class_of = [(min(int(image_id[:2]), classes - 1),) for image_id in IDS]
        found = compare(a, b, pd.Series(class_of, index=IDS), new_classes=new)
        assert found.by_class == by_class
        assert found.unit_count == (classes if by_class else len(IDS))


def test_classes_are_labels_not_sets_of_labels() -> None:
    """96 queries with 96 label sets but 24 labels have 24 classes."""
    several = [(f"{n % 24:02}", f"{(n % 24 + 1 + n // 24) % 24:02}") for n in range(len(IDS))]
    assert len({frozenset(known) for known in several}) == len(IDS)
    a, b = Side([make_table(0.5, seed=1)], True), Side([make_table(0.6, seed=2)], True)
    found = compare(a, b, pd.Series(several, index=IDS))
    assert (found.by_class, found.unit_count) == (True, 24)


def test_a_metric_that_one_side_lacks_is_left_out() -> None:
    a, b = make_table(0.5, seed=1), make_table(0.6, seed=2)
    b["recall_at_7"] = 1.0
    a["triplet_accuracy"] = b["triplet_accuracy"] = np.nan  # no triplets
    found = compare(Side([a], True), Side([b], True), CLASS_OF)
    assert list(found.metrics["metric"]) == ["map", "cosine_positive"]


def test_only_metrics_of_which_higher_is_better_are_corrected() -> None:
    a, b = make_table(0.5, seed=1), make_table(0.6, seed=2)
    a["recall_at_1"], b["recall_at_1"] = a["average_precision"], a["average_precision"][::-1].values
    found = compare(Side([a], True), Side([b], True), CLASS_OF).metrics.set_index("metric")
    assert found.loc["map", "p"] == pytest.approx(0.0001)
    assert found.loc["map", "p_holm"] == pytest.approx(0.0002)
    assert np.isnan(found.loc["cosine_positive", "p_holm"])
    assert found.index[-1] == "cosine_positive"


def test_holm_by_hand() -> None:
    assert correct_by_holm(np.array([0.04, 0.01, 0.03, 0.5])) == pytest.approx(
        [0.09, 0.04, 0.09, 0.5]
    )
    assert correct_by_holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])


def test_seed_variance_by_hand() -> None:
    """Trainings with means 0.50 and 0.54 have a variance of 0.0008, with one degree of freedom."""
    spread = np.array([-0.1, 0.1])  # between two queries, which is not seed variance
    a, b = (
        np.array([mean + spread for mean in means])[:, :, None] for means in ([0.50, 0.54], [0.6])
    )
    for trained, share in (((True, True), 1 / 2 + 1), ((True, False), 1 / 2)):
        seed_variance, degrees_of_freedom = estimate_seed_variance(a, b, trained=trained)
        assert seed_variance == pytest.approx([0.0008 * share])
        assert degrees_of_freedom == 1
    seed_variance, degrees_of_freedom = estimate_seed_variance(a[:1], b, trained=(True, True))
    assert (seed_variance.tolist(), degrees_of_freedom) == ([0], 0)
    both, degrees_of_freedom = estimate_seed_variance(a, 2 * a, trained=(True, True))
    assert both == pytest.approx([(0.0008 + 0.0032) / 2])
    assert degrees_of_freedom == 2


def test_several_trainings_add_seed_variance() -> None:
    """A gain is not significant if trainings differ by more."""
    one = compare(Side([make_table(0.50, 1)], True), Side([make_table(0.53, 2)], True), CLASS_OF)
    assert not one.has_seed_variance
    assert one.metrics.loc[0, "p"] < 0.01
    with_seeds = compare(
        Side([make_table(0.50, 1), make_table(0.54, 3)], True),
        Side([make_table(0.53, 2), make_table(0.50, 4)], True),
        CLASS_OF,
    )
    assert with_seeds.has_seed_variance
    assert with_seeds.metrics.loc[0, "p"] > 0.1
    assert with_seeds.metrics.loc[0, "a"] == pytest.approx(0.52, abs=0.01)


def test_a_gain_stays_significant_with_similar_trainings() -> None:
    sides = (
        Side([make_table(mean, seed) for seed in range(first, first + 3)], True)
        for mean, first in ((0.5, 0), (0.56, 3))
    )
    found = compare(*sides, CLASS_OF)
    assert found.metrics.loc[0, "p"] < 0.01


def test_an_untrained_network_has_no_seed_variance() -> None:
    trained = Side([make_table(0.53, 2), make_table(0.55, 4)], True)
    untrained, once = (Side([make_table(0.50, 1)], each) for each in (False, True))
    reach = [compare(a, trained, CLASS_OF).metrics.eval("high - low")[0] for a in (untrained, once)]
    assert reach[0] < reach[1]


def false_positives(
    trainings: tuple[int, int],
    *,
    classes: int = CLASSES,
    of_class: float = 0.05,
    simulations: int = 1000,
    resamples: int = 999,
) -> float:
    """Return how often p is 0.05 or less if only classes, trainings and images vary.

    Each metric is one simulation. of_class: how much the true difference varies between classes.
    """
    rng = np.random.default_rng(11)
    ids = [f"{c:02}/{n}" for c in range(classes) for n in range(EACH)]
    gains = of_class * rng.normal(size=(classes, simulations)).repeat(EACH, axis=0)

    def train(gain: float | np.ndarray) -> pd.DataFrame:
        seed_variance = 0.02 * rng.normal(size=simulations)
        values = gain + seed_variance + 0.05 * rng.normal(size=(len(ids), simulations))
        columns = pd.DataFrame(
            values, columns=[f"metric_{simulation}" for simulation in range(simulations)]
        )
        return pd.concat([table(np.full(len(ids), 0.5), ids), columns], axis=1)

    sides = [
        Side([train(gain) for _ in range(count)], True)
        for count, gain in zip(trainings, (0.0, gains), strict=True)
    ]
    class_of = pd.Series([(image_id[:2],) for image_id in ids], index=ids)
    found = compare(*sides, class_of, resamples=resamples).metrics
    p = found.loc[found["metric"].str.startswith("metric_"), "p"]
    assert len(p) == simulations
    return float((p <= 0.05).mean())


@pytest.mark.parametrize("trainings", [(2, 2), (1, 2), (1, 3)])
def test_with_several_trainings_at_most_6_percent_are_false_positives(
    trainings: tuple[int, int],
) -> None:
    assert 0 < false_positives(trainings) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainings", "of_class"),
    [
        ((1, 2), 0.05),
        *(
            pytest.param(trainings, of_class, marks=pytest.mark.long)
            for trainings in ((1, 2), (2, 2), (3, 3))
            for of_class in (0.05, 0)
            if (trainings, of_class) != ((1, 2), 0.05)
        ),
    ],
)
def test_at_most_6_percent_are_false_positives_of_80_classes(
    trainings: tuple[int, int], of_class: float
) -> None:
    """Where classes differ little, nearly all of the variance is between trainings."""
    share = false_positives(
        trainings, classes=80, of_class=of_class, simulations=3000, resamples=4999
    )
    print(trainings, f"of_class {of_class}: {share:.3f}")
    assert share <= 0.06


def test_with_one_training_for_each_side_many_more_are() -> None:
    assert false_positives((1, 1)) > 0.35


def test_sides_without_a_common_query_are_refused() -> None:
    a, b = table([0.5], ["x"]), table([0.5], ["y"])
    with pytest.raises(UserError) as error:
        compare(Side([a], True), Side([b], True), pd.Series([("c",)] * 2, index=["x", "y"]))
    assert str(error.value) == (
        "A and B: found no query that both have; allowed: models of one split"
    )


def test_pairs_of_many_sides_are_compared_over_the_queries_of_all() -> None:
    tables = {name: make_table(0.5 + 0.01 * n, seed=n) for n, name in enumerate("ABC")}
    tables["C"] = tables["C"].iloc[8:]  # without two classes
    found = compare_all({name: Side([each], True) for name, each in tables.items()}, CLASS_OF)
    assert list(found) == [("A", "B"), ("A", "C"), ("B", "C")]
    kept = {
        name: Side([each[each["image_id"].isin(IDS[8:])]], True) for name, each in tables.items()
    }
    every = []
    for (a, b), of_all in found.items():
        alone = compare(kept[a], kept[b], CLASS_OF)
        assert of_all.shared == len(IDS) - 8
        pd.testing.assert_frame_equal(
            of_all.metrics.drop(columns="p_holm"), alone.metrics.drop(columns="p_holm")
        )
        every.append(of_all.metrics.loc[0, ["p", "p_holm"]].tolist())
    p, corrected = np.array(every).T
    np.testing.assert_array_equal(corrected, correct_by_holm(p))
    assert (corrected > p).any()


def test_two_sides_of_many_are_as_a_pair() -> None:
    sides = {"A": Side([make_table(0.5, seed=1).iloc[4:]], True)}
    sides["B"] = Side([make_table(0.6, seed=2)], True)
    found = compare_all(sides, CLASS_OF)["A", "B"]
    pd.testing.assert_frame_equal(found.metrics, compare(*sides.values(), CLASS_OF).metrics)
    assert (found.only_a, found.only_b) == (0, 4)


def test_of_many_equal_sides_hardly_any_differs() -> None:
    """In 40 worlds of six pairs: where each pair is judged alone, in a quarter of the worlds."""
    worlds, corrected, alone = 40, 0, 0
    for world in range(worlds):
        tables = {name: make_table(0.5, seed=10 * world + n) for n, name in enumerate("ABCD")}
        sides = {name: Side([each], True) for name, each in tables.items()}
        found = compare_all(sides, CLASS_OF, resamples=999).values()
        corrected += any((each.metrics["p_holm"] <= 0.05).any() for each in found)
        alone += any((each.metrics["p"] <= 0.05).any() for each in found)
    print(f"{corrected} of {worlds} worlds, without correction {alone}")
    assert corrected <= 5
    assert alone >= 6
