"""The files of a run -> all that its report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.figures.palette import MODELS
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.report.class_size_graph import class_size_graph
from pipeline.report.curve_graphs import Graph, read_graphs
from pipeline.report.dataset_summary import DatasetSummary, describe_dataset, read_rejected
from pipeline.report.embedded_sheets import EmbeddedSheet, read_sheets
from pipeline.report.hardest_classes import HardClass, hardest_classes
from pipeline.report.metric_rows import (
    TRAINING,
    MetricRow,
    Metrics,
    estimate_rows,
    plain_rows,
    read_metrics,
)
from pipeline.report.shown_params import shown_params
from pipeline.report.thumbnails import Atlas

EXAMPLES = 24


@dataclass(frozen=True)
class RunFiles:
    """Where the figures, results, curves and sheets of a run are."""

    splits: Path
    rejected: Path
    metrics: Path
    results: Path
    history: Path
    curves: Path
    images: Path


@dataclass(frozen=True)
class Contents:
    """What the page shows, in its order.

    examples: rows of the atlas, spread over the classes. points: of `describe_points`.
    class_image: class name -> row of the atlas, where the sample has the class.
    """

    settings: Mapping[str, Any]
    dataset: DatasetSummary
    class_sizes: Graph | None
    examples: list[int]
    estimates: list[MetricRow]
    counts: list[tuple[str, list[float | None]]]
    training: Metrics
    graphs: list[Graph]
    sample: ProjectionSample
    points: Mapping[str, Any]
    sheets: list[EmbeddedSheet]
    hardest: list[HardClass]
    class_image: Mapping[str, int]
    atlas: Atlas


def read_contents(
    params: Params,
    sources: RunFiles,
    *,
    known: pd.DataFrame,
    names: Mapping[int, str],
    sample: ProjectionSample,
    points: Mapping[str, Any],
    atlas: Atlas,
) -> Contents:
    """Return all that the report shows.

    known: CATALOG. names: label -> name. points: of `describe_points`. atlas: of the sample.

    Raises:
        UserError: a file is missing or is not what its stage writes.
    """
    figures = read_metrics(sources.metrics)
    splits = tables.read_table(sources.splits, tables.SPLITS).to_pandas()
    dataset = describe_dataset(known, names, splits, read_rejected(sources.rejected))
    by_class = {
        model: tables.read_table(
            sources.results / model / "classes.parquet", tables.CLASS_RESULTS
        ).to_pandas()
        for model in MODELS
    }
    return Contents(
        settings=shown_params(params),
        dataset=dataset,
        class_sizes=class_size_graph(dataset),
        examples=spread(sample, most=EXAMPLES),
        estimates=estimate_rows(figures),
        counts=plain_rows(figures),
        training=figures[TRAINING],
        graphs=read_graphs(sources.curves, sources.history, distance=params.index.distance),
        sample=sample,
        points=points,
        sheets=read_sheets(sources.images),
        hardest=hardest_classes(by_class, names),
        class_image=_first_rows(sample),
        atlas=atlas,
    )


def spread(sample: ProjectionSample, *, most: int) -> list[int]:
    """Return at most `most` rows of the sample, spread evenly over its classes.

    Of each class the first image; where there are fewer classes, then the second, and so on.
    """
    turns: dict[str, int] = {}
    order = []
    for row, names in enumerate(sample.classes):
        first = names[0] if names else ""
        turns[first] = turns.get(first, 0) + 1
        order.append((turns[first], row))
    # All first images, evenly thinned where there are too many; then of the second ones …
    rows: list[int] = []
    for turn in range(1, max(turns.values(), default=0) + 1):
        free = most - len(rows)
        found = [row for own, row in order if own == turn]
        rows += (
            found if len(found) <= free else [found[i * len(found) // free] for i in range(free)]
        )
        if len(rows) >= most:
            break
    return rows


def _first_rows(sample: ProjectionSample) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, names in enumerate(sample.classes):
        for name in names:
            rows.setdefault(name, row)
    return rows
