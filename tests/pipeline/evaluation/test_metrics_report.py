"""The content of metrics/details/<model>.json: names, intervals and their ranges."""

import json

import numpy as np
import pytest

from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.evaluation.measure import measure
from pipeline.evaluation.metrics_report import MetricsReport, choose_headline, report_metrics

CLASSES, EACH = 12, 4
LABELS = [[row // EACH] for row in range(CLASSES * EACH)]


def report(
    spread: float, *, over_classes: bool, lists: list[list[int]] = LABELS, distance: str = "cosine"
) -> MetricsReport:
    """Return the report of images around the centres of their first label's class."""
    rng, labels = np.random.default_rng(0), from_lists(lists)
    centres = rng.normal(size=(CLASSES, 16))
    vectors = centres[labels.first()] + spread * rng.normal(size=(len(lists), 16))
    every = np.ones(len(lists), dtype=bool)
    options = {"k": [1, 5], "knn": 3, "triplets": 2, "distance": distance}
    metrics = measure(vectors.astype(np.float32), labels, every, every, **options)
    exact = metrics.with_columns({"index_recall_at_1": np.ones(len(lists))})
    classes: LabelSets | None = labels if over_classes else None
    return report_metrics(exact, classes=classes, gallery_size=len(lists), resamples=100, seed=0)


def interval(found: MetricsReport, name: str) -> tuple[float, float]:
    return float(found[f"{name}_low"]), float(found[f"{name}_high"])


def test_the_headline_is_eight_of_the_means_without_intervals() -> None:
    found = report(0.5, over_classes=True)
    names = ["recall_at_1", "recall_at_5", "precision_at_5", "map", "map_at_r", "mrr"]
    names += ["knn_accuracy"]  # and the recall of an approximate index, here at 1 alone
    assert choose_headline(found, k=[5, 1]) == {name: found[name] for name in names}
    one = choose_headline(found, k=[1])
    assert (one["recall_at_1"], one["index_recall_at_1"]) == (found["recall_at_1"], 1)


@pytest.mark.parametrize("over_classes", [True, False])
def test_it_names_what_its_intervals_are_over(over_classes: bool) -> None:
    found = report(1.5, over_classes=over_classes)
    assert found["intervals_over"] == ("classes" if over_classes else "images")
    assert all(isinstance(found[name], int | float) for name in found.keys() - {"intervals_over"})


@pytest.mark.parametrize("over_classes", [True, False])
def test_means_that_are_one_number_have_one_interval(over_classes: bool) -> None:
    found = report(1.5, over_classes=over_classes)
    for name in ("map", "knn_accuracy"):
        assert found[f"macro_{name}"] == found[name]
        assert interval(found, f"macro_{name}") == interval(found, name)


@pytest.mark.parametrize("over_classes", [True, False])
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_every_mean_is_in_its_interval_and_that_in_its_range(
    over_classes: bool, several: bool, distance: str
) -> None:
    lists = [
        [*known, 40 + row % 7] if several and row % 3 else known for row, known in enumerate(LABELS)
    ]
    found = report(3, over_classes=over_classes, lists=lists, distance=distance)
    means = [name for name in found if f"{name}_low" in found]
    assert {"recall_at_1", "map", "macro_map", "cosine_negative"} <= set(means)
    for name in means:
        low, high = interval(found, name)
        assert (-1 if name.startswith("cosine") else 0) <= low <= float(found[name]) <= high <= 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_ones_alone_claim_no_certainty_but_those_of_an_exact_index_do() -> None:
    found = report(0.01, over_classes=True)
    assert (found["recall_at_1"], found["index_recall_at_1"]) == (1, 1)
    assert interval(found, "recall_at_1") == (pytest.approx(0.05 ** (1 / CLASSES), abs=1e-6), 1)
    assert interval(found, "macro_map") == interval(found, "map") == interval(found, "recall_at_1")
    assert interval(found, "index_recall_at_1") == (1, 1)
    low, _ = interval(report(0.01, over_classes=False), "recall_at_1")
    assert low == pytest.approx(0.05 ** (1 / len(LABELS)), abs=1e-6)


def test_no_interval_of_recall_contradicts_that_of_a_smaller_k() -> None:
    """At 5, all 12 classes are found, which alone would leave room for a recall of 0.78."""
    found = report(0.7, over_classes=True)
    assert (found["recall_at_1"], found["recall_at_5"]) == (0.9375, 1)
    assert interval(found, "recall_at_5") == interval(found, "recall_at_1") == (0.872221, 1)
