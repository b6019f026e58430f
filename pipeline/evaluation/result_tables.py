"""What `evaluate` writes of one model: its metrics, and the tables behind them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.data.files import written_whole
from pipeline.data.tables import NEIGHBORS
from pipeline.evaluation.intervals import (
    bootstrap_intervals,
    macro_mean_statistic,
    query_mean_statistic,
)
from pipeline.evaluation.measure import MEANS, Measured
from pipeline.index.relevance import Relevance
from pipeline.index.search import Neighbors

DECIMALS = 6
QUERIES_AT_ONCE = 1024


def metrics_report(
    measured: Measured, *, gallery: int, resamples: int, seed: int
) -> dict[str, float | int]:
    """Return the flat metrics of metrics/<model>.json, each mean followed by its interval.

    gallery: number of gallery images. Floats are rounded to DECIMALS.
    """
    report: dict[str, float | int] = {
        "queries": len(measured.positives),
        "gallery": gallery,
        "queries_without_positives": measured.queries_without_positives,
    }
    answerable = measured.positives > 0
    classes = measured.classes
    means = measured.means | classes.macro_means()
    columns = [name for name in measured.per_query if MEANS.get(name, name) in means]
    values = np.stack([measured.per_query[name][answerable] for name in columns], axis=1)
    intervals = bootstrap_intervals(
        query_mean_statistic(values),
        macro_mean_statistic(
            np.stack([classes.columns[name] for name in classes.macro], axis=1),
            queries=(np.cumsum(answerable) - 1)[classes.queries],
            classes=classes.class_of,
        ),
        queries=len(values),
        resamples=resamples,
        seed=seed,
    )
    names = [MEANS.get(column, column) for column in columns]
    names += [f"macro_{name}" for name in classes.macro]
    for name, (low, high) in zip(names, intervals.T, strict=True):
        for key, value in ((name, means[name]), (f"{name}_low", low), (f"{name}_high", high)):
            report[key] = round(float(value), DECIMALS)
    return report


def write_metrics(path: Path, report: dict[str, float | int]) -> None:
    """Write `report` as JSON, whole or not at all."""
    with written_whole(path) as (unfinished,):
        unfinished.write_text(json.dumps(report, indent=2) + "\n")


def queries_table(measured: Measured, ids: Sequence[str] | NDArray[np.object_]) -> pa.Table:
    """Return the QUERIES table of the queries `ids`; a value that has no meaning is null."""
    first = pa.array(measured.first_hit_rank, from_pandas=True).cast(pa.int32())
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(ids, pa.string()),
        "positives": pa.array(measured.positives, pa.int32()),
        "first_hit_rank": first,
    }
    for name, values in measured.per_query.items():
        columns[name] = pa.array(values, pa.float64(), from_pandas=True)
    return pa.table(columns)


def neighbors_table(
    found: Neighbors,
    relevance: Relevance,
    query_ids: NDArray[np.object_],
    gallery_ids: NDArray[np.object_],
) -> pa.Table:
    """Return the NEIGHBORS table: what each query found, rank by rank from 1."""
    there = found.rows >= 0  # an index may find fewer; its answers come first
    queries, places = np.nonzero(there)
    rows = found.rows[there]
    columns = {
        "query": pa.array(query_ids[queries], pa.string()),
        "rank": pa.array(places + 1, pa.int32()),
        "image_id": pa.array(gallery_ids[rows], pa.string()),
        "score": pa.array(found.scores[there], pa.float32()),
        "relevant": pa.array(_are_relevant(found.rows, relevance)[there]),
    }
    return pa.table(columns, schema=pa.schema(NEIGHBORS.columns))


def _are_relevant(rows: Ints, relevance: Relevance) -> NDArray[np.bool_]:
    """Return bool [Q, n]: whether each found gallery row is relevant to its query."""
    relevant = np.zeros(rows.shape, dtype=bool)
    for start in range(0, len(rows), QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, len(rows))
        pairs = relevance.pairs(start, stop)
        # (query, row) as one number: both lists of pairs are made of those.
        size = relevance.gallery_size + 1
        owners = np.repeat(np.arange(stop - start), pairs.counts)
        asked = np.arange(stop - start)[:, None] * size + rows[start:stop]
        relevant[start:stop] = np.isin(asked, owners * size + pairs.rows)
    return relevant & (rows >= 0)
