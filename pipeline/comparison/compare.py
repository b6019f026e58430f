"""Compares two settings on the same queries: the difference of each metric and its uncertainty.

A and B are the two sides of a comparison. A side is one setting, with the results of one training
or of several that differ only in their seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.comparison.paired_bootstrap import paired_intervals
from pipeline.data.arrays import Floats
from pipeline.data.tables import Table
from pipeline.errors import UserError
from pipeline.evaluation.clusters import Clusters, cluster_by_labels, cluster_by_unit
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.evaluation.intervals_over import MIN_CLASSES
from pipeline.evaluation.retrieval_metrics import MEAN_NAMES

RESAMPLES = 9999
SEED = 7
MAIN_METRIC = "map"  # which decides the verdict
# Classes are resampled where there are so many, whether the model has seen them or not, because
# queries of one class are correlated: its images are relevant to each other.
MIN_SEEN_CLASSES = 20

# Not among the tables of pipeline/data/tables.py, which every stage depends on: no stage reads it.
COMPARISON = Table(
    "comparison",
    (
        pa.field("side_a", pa.string(), nullable=False),
        pa.field("side_b", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("queries", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64(), nullable=False)
            for name in ("a", "b", "difference", "low", "high", "p")
        ),
        pa.field("p_holm", pa.float64(), nullable=True),
    ),
)
METRIC_COLUMNS = [field.name for field in COMPARISON.columns[2:]]


@dataclass(frozen=True)
class Side:
    """The results of one setting.

    queries: a QUERIES table for each training, at least one. trained: whether the model was
    trained; a model that was not has no seed variance.
    """

    queries: Sequence[pd.DataFrame]
    trained: bool


@dataclass(frozen=True)
class Comparison:
    """The differences of B's metrics from A's.

    metrics: METRIC_COLUMNS of a COMPARISON table, a row for each metric, MAIN_METRIC first; p_holm
    is null if a higher value is not better. unit_count: the number of resampled units; by_class:
    whether these are classes, or single queries. shared, only_a, only_b: numbers of queries.
    has_seed_variance: whether the intervals include what another training of the same setting
    would change. identical: whether each query has the same values on both sides, as where nothing
    was trained.
    """

    metrics: pd.DataFrame
    unit_count: int
    by_class: bool
    shared: int
    only_a: int
    only_b: int
    has_seed_variance: bool
    identical: bool


def compare(
    a: Side,
    b: Side,
    class_of: pd.Series,
    *,
    new_classes: bool = False,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Return the differences of B's metrics from A's, over the queries that all trainings have.

    class_of: image_id -> the classes of an image, a tuple of any hashable values. Queries of one
    class have the same relevant images, so their results are correlated: with MIN_SEEN_CLASSES or
    more, whole classes are resampled, else single queries. new_classes: no class is one of training
    or validation, so that the question is one on other classes; then MIN_CLASSES are enough.

    If a side has several trainings, the value of a query is their mean, and the variance between
    trainings is part of the interval (`estimate_seed_variance`). The same arguments give the same
    bits.
    """
    tables = [table.set_index("image_id") for table in (*a.queries, *b.queries)]
    shared = _list_shared_queries(tables)
    columns = _list_shared_columns(tables)
    values = np.stack([table.loc[shared, columns].to_numpy(np.float64) for table in tables])
    split = len(a.queries)
    clusters, by_class = _cluster(class_of.loc[shared], new_classes)
    mean_a, mean_b = _average_trainings(values[:split]), _average_trainings(values[split:])
    seed_variance, degrees_of_freedom = estimate_seed_variance(
        values[:split], values[split:], trained=(a.trained, b.trained)
    )
    intervals = paired_intervals(
        mean_b - mean_a,
        clusters,
        seed_variance=seed_variance,
        degrees_of_freedom=degrees_of_freedom,
        resamples=resamples,
        seed=seed,
    )
    exists = ~np.isnan(mean_b - mean_a)
    metrics = pd.DataFrame(
        {
            "metric": [MEAN_NAMES.get(column, column) for column in columns],
            "queries": exists.sum(axis=0),
            "a": np.where(exists, mean_a, 0).sum(axis=0) / exists.sum(axis=0),
            "b": np.where(exists, mean_b, 0).sum(axis=0) / exists.sum(axis=0),
        }
        | intervals
    )
    metrics["p_holm"] = _correct_p_values(metrics)
    return Comparison(
        metrics=_sort_metrics(metrics),
        unit_count=clusters.unit_count,
        by_class=by_class,
        shared=len(shared),
        only_a=len(set(tables[0].index) - set(shared)),
        only_b=len(set(tables[split].index) - set(shared)),
        has_seed_variance=degrees_of_freedom > 0,
        identical=np.array_equal(mean_a, mean_b, equal_nan=True),
    )


def compare_all(
    sides: Mapping[str, Side],
    class_of: pd.Series,
    *,
    new_classes: bool = False,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[tuple[str, str], Comparison]:
    """Return the comparison of each pair of sides, by their names, in the order of `sides`.

    The queries are those that all trainings of all sides have, and the p-values are corrected for
    all metrics of all pairs: the more sides, the more pairs differ by chance alone.
    """
    of_all = sides if len(sides) == 2 else _keep_shared_queries(sides)
    options: dict[str, Any] = {"new_classes": new_classes, "resamples": resamples, "seed": seed}
    found = {
        (a, b): compare(of_all[a], of_all[b], class_of, **options)
        for a, b in combinations(of_all, 2)
    }
    corrected = _correct_p_values(pd.concat([each.metrics for each in found.values()]))
    start = 0
    for each in found.values():
        each.metrics["p_holm"] = corrected[start : start + len(each.metrics)]
        start += len(each.metrics)
    return found


def estimate_seed_variance(
    a: Floats, b: Floats, *, trained: tuple[bool, bool]
) -> tuple[Floats, int]:
    """Return the seed variance of the differences, float64 [M], and its degrees of freedom.

    The variance of a metric between trainings is estimated from all sides with several trainings,
    and assumed to be equal for both: two or three trainings are too few to estimate two variances.
    The mean of T trainings has 1/T of it. 0 if no side has several trainings.

    a, b: float64 [T, Q, M].
    """
    squares, degrees_of_freedom = np.zeros(a.shape[2]), 0
    share = 0.0
    for values, is_trained in zip((a, b), trained, strict=True):
        if not is_trained:
            continue
        of_trainings = np.nanmean(values, axis=1)  # (T, M)
        squares += ((of_trainings - of_trainings.mean(axis=0)) ** 2).sum(axis=0)
        degrees_of_freedom += len(values) - 1
        share += 1 / len(values)
    variance = squares / degrees_of_freedom * share if degrees_of_freedom else squares
    return variance, degrees_of_freedom


def correct_by_holm(p: Floats) -> Floats:
    """Return p-values corrected for multiple tests (Holm 1979): float64 [M], at most 1.

    Of the i-th smallest of M: the largest of (M - j + 1) p_j over all j <= i.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _list_shared_queries(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the image_ids that all tables have as their index, sorted; at least one."""
    if all(table.empty for table in tables):
        raise UserError(
            "A and B: nothing was measured, because no image can be a query; allowed: models of "
            "images with two classes or more"
        )
    shared = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not shared:
        raise UserError("A and B: found no query that both have; allowed: models of one split")
    return shared


def _keep_shared_queries(sides: Mapping[str, Side]) -> dict[str, Side]:
    tables = [table.set_index("image_id") for side in sides.values() for table in side.queries]
    shared = _list_shared_queries(tables)
    return {
        name: Side([table[table["image_id"].isin(shared)] for table in side.queries], side.trained)
        for name, side in sides.items()
    }


def _list_shared_columns(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the metrics that all tables have, with a value for some query."""
    return [
        name
        for name in tables[0].columns
        if name not in ("positives", "first_hit_rank")
        and all(name in table and table[name].notna().any() for table in tables)
    ]


def _cluster(classes: pd.Series, new_classes: bool) -> tuple[Clusters, bool]:
    by_class = cluster_by_labels(classes.tolist())
    if by_class.unit_count >= (MIN_CLASSES if new_classes else MIN_SEEN_CLASSES):
        return by_class, True
    return cluster_by_unit(np.arange(len(classes))), False


def _average_trainings(values: Floats) -> Floats:
    """Return the mean over trainings, [T, Q, M] -> [Q, M]; NaN if one of them has no value."""
    mean: Floats = values.mean(axis=0)
    return mean


def _correct_p_values(metrics: pd.DataFrame) -> Floats:
    """Return the corrected p-values of the metrics of which higher is better, else NaN."""
    counted = metrics["metric"].map(higher_is_better).to_numpy(bool)
    corrected = np.full(len(metrics), np.nan)
    corrected[counted] = correct_by_holm(metrics.loc[counted, "p"].to_numpy(np.float64))
    return corrected


def _sort_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with MAIN_METRIC first, and those of which higher is not better last."""
    counted = metrics["metric"].map(higher_is_better)
    rank = np.where(metrics["metric"] == MAIN_METRIC, 0, np.where(counted, 1, 2))
    return metrics.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)[METRIC_COLUMNS]
