"""The files of a run -> what its report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.data.training_record import TrainingRecord, read_record
from pipeline.figures.palette import MODELS
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.health.findings import Finding
from pipeline.report.class_size_graph import class_size_graph
from pipeline.report.curve_graphs import Graph, read_graphs
from pipeline.report.dataset_summary import DatasetSummary, describe_dataset, read_rejected
from pipeline.report.embedded_sheets import DUPLICATES, EmbeddedSheet, read_sheets
from pipeline.report.hardest_classes import HardClass, hardest_classes
from pipeline.report.metric_rows import (
    TRAINING,
    MetricRow,
    Metrics,
    describe_intervals,
    describe_postprocessing,
    estimate_rows,
    plain_rows,
    read_metrics,
)
from pipeline.report.shown_params import shown_params, with_chosen
from pipeline.report.thumbnails import Atlas

EXAMPLES = 24


@dataclass(frozen=True)
class RunFiles:
    """The files and folders of a run that the report reads.

    model: the folder of the trained model. history: train_history.csv. curves: plots/curves.
    figures: plots/figures.
    """

    splits: Path
    rejected: Path
    model: Path
    metrics: Path
    results: Path
    history: Path
    curves: Path
    figures: Path


@dataclass(frozen=True)
class Contents:
    """What the page shows, in its order.

    params: dotted key -> value, with what was chosen for `auto`. record: of the training.
    intervals, postprocessing: from `describe_intervals` and `describe_postprocessing`. examples:
    rows of the atlas, of many classes. points: from `describe_points`. example_of_class: class
    name -> a row of the atlas, if the sample has one.
    """

    params: Mapping[str, Any]
    record: TrainingRecord
    dataset: DatasetSummary
    class_sizes: Graph | None
    findings: list[Finding]
    duplicates: list[EmbeddedSheet]
    examples: list[int]
    estimates: list[MetricRow]
    intervals: str | None
    postprocessing: str
    counts: list[tuple[str, list[float | None]]]
    training: Metrics
    graphs: list[Graph]
    sample: ProjectionSample
    points: Mapping[str, Any]
    sheets: list[EmbeddedSheet]
    hardest: list[HardClass]
    example_of_class: Mapping[str, int]
    atlas: Atlas


def read_contents(
    params: Params,
    files: RunFiles,
    *,
    catalog: pd.DataFrame,
    class_names: Mapping[int, str],
    sample: ProjectionSample,
    points: Mapping[str, Any],
    findings: list[Finding],
    atlas: Atlas,
) -> Contents:
    """Return what the report shows.

    catalog: CATALOG. class_names: label -> display name. points: from `describe_points`. findings:
    about the health of the data. atlas: thumbnails of the sample.

    Raises:
        UserError: a file is missing or is not what its stage writes.
    """
    metrics, record = read_metrics(files.metrics), read_record(files.model)
    splits = tables.read_table(files.splits, tables.SPLITS).to_pandas()
    dataset = describe_dataset(catalog, class_names, splits, read_rejected(files.rejected))
    class_results = {
        model: tables.read_table(
            files.results / model / "classes.parquet", tables.CLASS_RESULTS
        ).to_pandas()
        for model in MODELS
    }
    return Contents(
        params=with_chosen(shown_params(params), record.auto),
        record=record,
        dataset=dataset,
        class_sizes=class_size_graph(dataset),
        findings=findings,
        duplicates=read_sheets(files.figures, DUPLICATES),
        examples=choose_examples(sample, most=EXAMPLES),
        estimates=estimate_rows(metrics),
        intervals=describe_intervals(files.metrics),
        postprocessing=describe_postprocessing(files.metrics),
        counts=plain_rows(metrics),
        training=metrics[TRAINING],
        graphs=[
            graph
            for graph in read_graphs(files.curves, files.history, distance=params.index.distance)
            if graph.has_data()
        ],
        sample=sample,
        points=points,
        sheets=read_sheets(files.figures),
        hardest=hardest_classes(class_results, class_names),
        example_of_class=_first_row_of_each_class(sample),
        atlas=atlas,
    )


def choose_examples(sample: ProjectionSample, *, most: int) -> list[int]:
    """Return at most `most` rows of the sample, spread evenly over its classes.

    First the first image of each class; if there are fewer classes than `most`, then the second
    image of each, and so on.
    """
    turn_of_class: dict[str, int] = {}
    rows_of_turn: dict[int, list[int]] = {}
    for row, names in enumerate(sample.classes):
        name = names[0] if names else ""
        turn = turn_of_class[name] = turn_of_class.get(name, 0) + 1
        rows_of_turn.setdefault(turn, []).append(row)
    examples: list[int] = []
    for _, rows in sorted(rows_of_turn.items()):
        free = most - len(examples)
        # Of too many, every so many-th, so that late classes are shown too.
        examples += (
            rows if len(rows) <= free else [rows[i * len(rows) // free] for i in range(free)]
        )
    return examples


def _first_row_of_each_class(sample: ProjectionSample) -> dict[str, int]:
    first: dict[str, int] = {}
    for row, names in enumerate(sample.classes):
        for name in names:
            first.setdefault(name, row)
    return first
