"""The metrics JSON of one model: means with their intervals, as `dvc metrics` compares them."""

import json
from pathlib import Path

import numpy as np

from pipeline.data.files import written_whole
from pipeline.evaluation.intervals import (
    bootstrap_intervals,
    macro_mean_statistic,
    query_mean_statistic,
)
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.retrieval_metrics import MEAN_NAMES, RetrievalMetrics

MetricsReport = dict[str, float | int]


def report_metrics(
    metrics: RetrievalMetrics, *, gallery_size: int, resamples: int, seed: int
) -> MetricsReport:
    """Return the flat content of metrics/<model>.json: each mean followed by its interval.

    Floats are rounded to DECIMALS.
    """
    report: MetricsReport = {
        "queries": len(metrics.positives),
        "gallery": gallery_size,
        "queries_without_positives": metrics.queries_without_positives,
    }
    has_positives = metrics.positives > 0
    by_class = metrics.by_class
    means = metrics.means | by_class.macro_means()
    columns = [name for name in metrics.per_query if MEAN_NAMES.get(name, name) in means]
    values = np.stack([metrics.per_query[name][has_positives] for name in columns], axis=1)
    intervals = bootstrap_intervals(
        query_mean_statistic(values),
        macro_mean_statistic(
            np.stack([by_class.columns[name] for name in by_class.macro_columns], axis=1),
            queries=(np.cumsum(has_positives) - 1)[by_class.queries],
            classes=by_class.class_of,
        ),
        queries=len(values),
        resamples=resamples,
        seed=seed,
    )
    names = [MEAN_NAMES.get(column, column) for column in columns]
    names += [f"macro_{name}" for name in by_class.macro_columns]
    for name, (low, high) in zip(names, intervals.T, strict=True):
        for key, value in ((name, means[name]), (f"{name}_low", low), (f"{name}_high", high)):
            report[key] = round(float(value), DECIMALS)
    return report


def write_metrics(path: Path, report: MetricsReport) -> None:
    """Write `report` as JSON, whole or not at all."""
    with written_whole(path) as (unfinished,):
        unfinished.write_text(json.dumps(report, indent=2) + "\n")
