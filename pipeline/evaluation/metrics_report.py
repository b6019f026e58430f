"""The metrics JSON of one model: means with their intervals; and the few for `dvc metrics`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.data.arrays import Floats
from pipeline.data.files import written_whole
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.bootstrap_t import UnitSums, sum_by_unit
from pipeline.evaluation.clusters import cluster_by_label_sets, cluster_by_unit
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.evaluation.intervals import bootstrap_intervals, doubt_certainty, sum_by_class
from pipeline.evaluation.intervals_over import INTERVALS_OVER
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.retrieval_metrics import MEAN_NAMES, RetrievalMetrics

MetricsReport = dict[str, float | int | str]
Bounds = tuple[float, float]

# What a person looks at first; all the rest, and the intervals, is in the details.
HEADLINE = (
    "recall_at_{least}",
    "recall_at_{most}",
    "precision_at_{most}",
    "map",
    "map_at_r",
    "mrr",
    "knn_accuracy",
    "index_recall_at_{most}",
    # Of the epoch that training chose.
    "best_epoch",
    "loss",
    "val_recall_at_{least}",
    "val_map",
    "baseline_val_map",
    "use",
)


def report_metrics(
    metrics: RetrievalMetrics,
    *,
    classes: LabelSets | None,
    gallery_size: int,
    resamples: int,
    seed: int,
) -> MetricsReport:
    """Return the flat content of metrics/details/<model>.json: each mean followed by its interval.

    Floats are rounded to DECIMALS.

    classes: the labels of all Q queries, if intervals are over classes (`choose_intervals_over`);
    None, if they are over images.
    """
    report: MetricsReport = {
        "queries": len(metrics.positives),
        "gallery": gallery_size,
        "queries_without_positives": metrics.queries_without_positives,
        INTERVALS_OVER: "images" if classes is None else "classes",
    }
    means = metrics.means | metrics.by_class.macro_means()
    columns = [name for name in metrics.per_query if MEAN_NAMES.get(name, name) in means]
    names = [MEAN_NAMES.get(column, column) for column in columns]
    names += [f"macro_{name}" for name in metrics.by_class.macro_columns]
    sums = _sum_by_unit(metrics, columns, classes)
    intervals = bootstrap_intervals(*sums, resamples=resamples, seed=seed)
    units = np.concatenate([each.independent for each in sums])
    bounds = {
        name: _bound(name, means[name], interval, units=int(count))
        for name, interval, count in zip(names, intervals.T, units, strict=True)
    }
    for name, (low, high) in _agree_across_k(bounds).items():
        for key, value in ((name, means[name]), (f"{name}_low", low), (f"{name}_high", high)):
            report[key] = round(float(value), DECIMALS)
    return report


def _sum_by_unit(
    metrics: RetrievalMetrics, columns: list[str], classes: LabelSets | None
) -> tuple[UnitSums, UnitSums]:
    """Return the sums of the means over queries and over classes, by class or by query."""
    has_positives, by_class = metrics.positives > 0, metrics.by_class
    values = np.stack([metrics.per_query[name][has_positives] for name in columns], axis=1)
    queries = (np.cumsum(has_positives) - 1)[by_class.queries]
    if classes is None:
        clusters, units = cluster_by_unit(np.arange(len(values))), queries
    else:
        known = classes.take(np.flatnonzero(has_positives))
        clusters = cluster_by_label_sets(known)
        units = np.searchsorted(np.unique(known.values), by_class.labels)
    of_classes = sum_by_class(
        np.stack([by_class.columns[name] for name in by_class.macro_columns], axis=1),
        by_class.class_of,
        units,
        unit_count=clusters.unit_count,
        queries=None if classes is None else queries,
    )
    return sum_by_unit(values, clusters), of_classes


def _bound(name: str, mean: float, interval: Floats, *, units: int) -> Bounds:
    """Return the interval within the metric's range; it is wider than a point if that is chance."""
    lowest = -1 if name.startswith("cosine_") else 0
    low, high = np.clip(interval, lowest, 1)
    # That an exact index finds all, or that images are equal, is no chance.
    if higher_is_better(name) and round(mean, DECIMALS) in (0, 1) and low == high:
        return doubt_certainty(round(mean), units)
    return min(low, mean), max(high, mean)


def _agree_across_k(bounds: dict[str, Bounds]) -> dict[str, Bounds]:
    """Return `bounds` where recall at a larger k is not bounded lower than at a smaller one.

    Recall cannot fall as k grows, so the low end at one k holds for all larger, and the high end
    for all smaller ones.
    """
    names = [name for name in bounds if name.startswith("recall_at_")]
    names.sort(key=lambda name: int(name.removeprefix("recall_at_")))
    if not names:
        return bounds
    lows, highs = np.array([bounds[name] for name in names]).T
    lows, highs = np.maximum.accumulate(lows), np.minimum.accumulate(highs[::-1])[::-1]
    return bounds | dict(zip(names, zip(lows, highs, strict=True), strict=True))


def choose_headline(report: Mapping[str, float | str], *, k: Sequence[int]) -> MetricsReport:
    """Return what `dvc metrics` and `dvc exp show` compare of a report: what it has of HEADLINE.

    k: of which values of k the report has metrics; the headline is of the least and the greatest.
    """
    names = [name.format(least=min(k), most=max(k)) for name in HEADLINE]
    return {name: report[name] for name in dict.fromkeys(names) if name in report}


def write_metrics(path: Path, report: Mapping[str, float | str]) -> None:
    """Write `report` as JSON, whole or not at all."""
    with written_whole(path) as (unfinished,):
        unfinished.write_text(json.dumps(report, indent=2) + "\n")
