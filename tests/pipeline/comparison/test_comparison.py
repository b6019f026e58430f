"""Two sides over the queries that both have: which are counted, resampled and corrected."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison.compare import Side, compare, estimate_seed_variance, holm
from pipeline.errors import UserError

CLASSES, EACH = 24, 4
IDS = [f"{c:02}/{n}" for c in range(CLASSES) for n in range(EACH)]
CLASS_OF = pd.Series([(image_id[:2],) for image_id in IDS], index=IDS)


def table(average: Sequence[float] | np.ndarray, ids: Sequence[str] = IDS) -> pd.DataFrame:
    """QUERIES of `ids` with two metrics, one of which has no say."""
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


def sampled(mean: float, seed: int, spread: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return table(mean + rng.normal(0, spread, len(IDS)))


def test_figures_are_means_over_shared_queries_by_their_names_in_metrics() -> None:
    a, b = table([0.5, 0.1, 0.9], ["x", "y", "z"]), table([0.2, 0.4, 0.7], ["y", "w", "x"])
    classes = pd.Series([("c",)] * 4, index=list("wxyz"))
    found = compare(Side([a], True), Side([b], True), classes)
    assert (found.shared, found.only_a, found.only_b) == (2, 1, 1)
    assert list(found.figures["metric"]) == ["map", "cosine_positive"]
    row = found.figures.iloc[0]
    assert row["queries"] == 2
    assert [row["a"], row["b"], row["difference"]] == pytest.approx([0.3, 0.45, 0.15])


def test_queries_are_paired_by_name_not_by_place() -> None:
    a = sampled(0.5, seed=1)
    found = compare(Side([a], True), Side([a.sample(frac=1, random_state=1)], True), CLASS_OF)
    assert found.figures["difference"].tolist() == [0, 0]
    assert found.figures["p"].tolist() == [1, 1]


def test_a_query_without_positives_has_no_difference() -> None:
    a, b = sampled(0.5, seed=1), sampled(0.6, seed=2)
    b.loc[3, ["average_precision", "cosine_positive"]] = np.nan
    found = compare(Side([a], True), Side([b], True), CLASS_OF)
    assert found.figures["queries"].tolist() == [len(IDS) - 1] * 2
    kept = [place for place in range(len(IDS)) if place != 3]
    assert found.figures.loc[0, "a"] == pytest.approx(a.loc[kept, "average_precision"].mean())


def test_whole_classes_are_drawn_unless_they_are_few() -> None:
    a, b = Side([sampled(0.5, seed=1)], True), Side([sampled(0.6, seed=2)], True)
    for known, drawn_by_class in ((24, True), (20, True), (19, False), (1, False)):
        lumped = [(min(int(image_id[:2]), known - 1),) for image_id in IDS]
        found = compare(a, b, pd.Series(lumped, index=IDS))
        assert found.by_class == drawn_by_class
        assert found.units == (known if drawn_by_class else len(IDS))


def test_classes_are_labels_not_sets_of_labels() -> None:
    """96 queries with 96 label sets are not 96 classes, where they have 24 labels in all."""
    several = [(f"{n % 24:02}", f"{(n % 24 + 1 + n // 24) % 24:02}") for n in range(len(IDS))]
    assert len({frozenset(known) for known in several}) == len(IDS)
    a, b = Side([sampled(0.5, seed=1)], True), Side([sampled(0.6, seed=2)], True)
    found = compare(a, b, pd.Series(several, index=IDS))
    assert (found.by_class, found.units) == (True, 24)


def test_a_metric_that_one_side_lacks_is_left_out() -> None:
    a, b = sampled(0.5, seed=1), sampled(0.6, seed=2)
    b["recall_at_7"] = 1.0
    a["triplet_accuracy"] = b["triplet_accuracy"] = np.nan  # where there are no triplets
    found = compare(Side([a], True), Side([b], True), CLASS_OF)
    assert list(found.figures["metric"]) == ["map", "cosine_positive"]


def test_only_metrics_with_a_say_are_corrected_for_being_several() -> None:
    a, b = sampled(0.5, seed=1), sampled(0.6, seed=2)
    a["recall_at_1"], b["recall_at_1"] = a["average_precision"], a["average_precision"][::-1].values
    found = compare(Side([a], True), Side([b], True), CLASS_OF).figures.set_index("metric")
    assert found.loc["map", "p"] == pytest.approx(0.0001)
    assert found.loc["map", "p_holm"] == pytest.approx(0.0002)
    assert np.isnan(found.loc["cosine_positive", "p_holm"])
    assert found.index[-1] == "cosine_positive"


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.03, 0.5])) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])


def test_luck_by_hand() -> None:
    """Trainings of means 0.50 and 0.54 vary by 0.0008, known by one square."""
    spread = np.array([-0.1, 0.1])  # over two queries, which is no seed variance
    a, b = (
        np.array([mean + spread for mean in means])[:, :, None] for means in ([0.50, 0.54], [0.6])
    )
    for trained, share in (((True, True), 1 / 2 + 1), ((True, False), 1 / 2)):
        seed_variance, freedom = estimate_seed_variance(a, b, trained=trained)
        assert seed_variance == pytest.approx([0.0008 * share])
        assert freedom == 1
    seed_variance, freedom = estimate_seed_variance(a[:1], b, trained=(True, True))
    assert (seed_variance.tolist(), freedom) == ([0], 0)
    both, freedom = estimate_seed_variance(a, 2 * a, trained=(True, True))
    assert both == pytest.approx([(0.0008 + 0.0032) / 2])
    assert freedom == 2


def test_several_trainings_bring_their_luck_in() -> None:
    """A gain that is sure over queries is not, where trainings differ by more than that."""
    one = compare(Side([sampled(0.50, 1)], True), Side([sampled(0.53, 2)], True), CLASS_OF)
    assert not one.has_seed_variance
    assert one.figures.loc[0, "p"] < 0.01
    with_seeds = compare(
        Side([sampled(0.50, 1), sampled(0.54, 3)], True),
        Side([sampled(0.53, 2), sampled(0.50, 4)], True),
        CLASS_OF,
    )
    assert with_seeds.has_seed_variance
    assert with_seeds.figures.loc[0, "p"] > 0.1
    assert with_seeds.figures.loc[0, "a"] == pytest.approx(0.52, abs=0.01)


def test_many_alike_trainings_leave_a_sure_gain_sure() -> None:
    sides = (
        Side([sampled(mean, seed) for seed in range(first, first + 3)], True)
        for mean, first in ((0.5, 0), (0.56, 3))
    )
    found = compare(*sides, CLASS_OF)
    assert found.figures.loc[0, "p"] < 0.01


def test_the_untrained_network_has_no_luck_of_training() -> None:
    trained = Side([sampled(0.53, 2), sampled(0.55, 4)], True)
    untrained, once = (Side([sampled(0.50, 1)], each) for each in (False, True))
    reach = [compare(a, trained, CLASS_OF).figures.eval("high - low")[0] for a in (untrained, once)]
    assert reach[0] < reach[1]


def coverage(trainings: tuple[int, int]) -> float:
    """Return how often the interval holds the truth, 0, where classes and trainings are sampled.

    Each metric is a world of its own.
    """
    rng, worlds = np.random.default_rng(11), 1000
    of_class = 0.05 * rng.normal(size=(CLASSES, worlds)).repeat(EACH, axis=0)

    def train(gain: float | np.ndarray) -> pd.DataFrame:
        seed_variance = 0.02 * rng.normal(size=worlds)
        values = gain + seed_variance + 0.05 * rng.normal(size=(len(IDS), worlds))
        columns = pd.DataFrame(values, columns=[f"metric_{world}" for world in range(worlds)])
        return pd.concat([table(np.full(len(IDS), 0.5)), columns], axis=1)

    sides = [
        Side([train(gain) for _ in range(count)], True)
        for count, gain in zip(trainings, (0.0, of_class), strict=True)
    ]
    found = compare(*sides, CLASS_OF, resamples=499).figures
    held = ((found["low"] <= 0) & (found["high"] >= 0))[found["metric"].str.startswith("metric_")]
    assert len(held) == worlds
    return float(held.mean())


@pytest.mark.parametrize("trainings", [(2, 2), (1, 3)])
def test_95_percent_hold_the_truth_of_trainings_too(trainings: tuple[int, int]) -> None:
    assert 0.92 <= coverage(trainings) <= 0.98


def test_one_training_a_side_would_claim_too_much() -> None:
    assert coverage((1, 1)) < 0.8


def test_sides_without_a_common_query_are_refused() -> None:
    a, b = table([0.5], ["x"]), table([0.5], ["y"])
    with pytest.raises(UserError) as error:
        compare(Side([a], True), Side([b], True), pd.Series([("c",)] * 2, index=["x", "y"]))
    assert str(error.value) == (
        "A and B: found no query that both have; allowed: models of one split"
    )
