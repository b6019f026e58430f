"""Two settings' results over the same queries: how far each metric differs, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.comparison.clusters import Clusters, cluster_by_labels, cluster_by_unit
from pipeline.comparison.paired_bootstrap import paired_intervals
from pipeline.data.arrays import Floats
from pipeline.data.tables import Table
from pipeline.errors import UserError
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.evaluation.measure import MEAN_NAMES

RESAMPLES = 9999
SEED = 7
MAIN = "map"  # what the verdict is about
# Fewer classes than this say too little about classes that were not seen; their queries do.
FEWEST_CLASSES = 20

# Not among the tables of pipeline/data/tables.py: no stage reads it, and each depends on that file.
COMPARISON = Table(
    "comparison",
    (
        pa.field("metric", pa.string(), nullable=False),
        pa.field("queries", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64(), nullable=False)
            for name in ("a", "b", "difference", "low", "high", "p")
        ),
        pa.field("p_holm", pa.float64(), nullable=True),
    ),
    key="metric",
)


@dataclass(frozen=True)
class Side:
    """The results of one setting.

    queries: a table QUERIES a training, at least one. trained: whether a
    training is behind them; a network without training has no seed variance.
    """

    queries: Sequence[pd.DataFrame]
    trained: bool


@dataclass(frozen=True)
class Comparison:
    """What B's results differ by from A's.

    figures: the COMPARISON table, a row a metric, MAIN first; p_holm is null where higher is
    not better. units: how many were resampled; by_class: whether those are classes, or single
    queries. shared, only_a, only_b: numbers of queries. has_seed_variance: whether the intervals
    include what another training of the same setting would change.
    """

    figures: pd.DataFrame
    units: int
    by_class: bool
    shared: int
    only_a: int
    only_b: int
    has_seed_variance: bool


def compare(
    a: Side,
    b: Side,
    class_of: pd.Series,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Return how B's metrics differ from A's, over the queries that all their trainings answered.

    class_of: image_id -> the classes of an image, a tuple of any hashable values. Queries of one
    class have the same relevant images, so their results are correlated: with FEWEST_CLASSES or
    more, whole classes are resampled, else single queries.

    Where a side has several trainings, each query's value is their mean, and the variance between
    trainings is part of the interval (`estimate_seed_variance`). The same arguments give the same
    bits.
    """
    tables = [table.set_index("image_id") for table in (*a.queries, *b.queries)]
    shared = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not shared:
        raise UserError("A and B: found no query that both have; allowed: models of one split")
    columns = _shared_columns(tables)
    values = np.stack([table.loc[shared, columns].to_numpy(np.float64) for table in tables])
    split = len(a.queries)
    clusters, by_class = _cluster(class_of.loc[shared])
    means = [_mean(values[:split]), _mean(values[split:])]  # each (Q, M)
    seed_variance, freedom = estimate_seed_variance(
        values[:split], values[split:], trained=(a.trained, b.trained)
    )
    found = paired_intervals(
        means[1] - means[0],
        clusters,
        seed_variance=seed_variance,
        freedom=freedom,
        resamples=resamples,
        seed=seed,
    )
    there = ~np.isnan(means[1] - means[0])
    figures = pd.DataFrame(
        {
            "metric": [MEAN_NAMES.get(column, column) for column in columns],
            "queries": there.sum(axis=0),
            "a": np.where(there, means[0], 0).sum(axis=0) / there.sum(axis=0),
            "b": np.where(there, means[1], 0).sum(axis=0) / there.sum(axis=0),
        }
        | found
    )
    figures["p_holm"] = _holm_of_those_with_a_say(figures)
    return Comparison(
        figures=_in_order(figures),
        units=clusters.units,
        by_class=by_class,
        shared=len(shared),
        only_a=len(set(tables[0].index) - set(shared)),
        only_b=len(set(tables[split].index) - set(shared)),
        has_seed_variance=freedom > 0,
    )


def estimate_seed_variance(
    a: Floats, b: Floats, *, trained: tuple[bool, bool]
) -> tuple[Floats, int]:
    """Return the seed variance of the differences, and its degrees of freedom.

    a, b: float64 [T, Q, M]. The variance of a metric between trainings is estimated from the sides
    that have several, and taken to be the same for both: two or three trainings a side are too few
    to tell apart. Of T trainings, the mean has 1/T of it. float64 [M], 0 where nothing is known.
    """
    squares, freedom = np.zeros(a.shape[2]), 0
    share = 0.0
    for values, is_trained in zip((a, b), trained, strict=True):
        if not is_trained:
            continue
        of_trainings = np.nanmean(values, axis=1)  # (T, M)
        squares += ((of_trainings - of_trainings.mean(axis=0)) ** 2).sum(axis=0)
        freedom += len(values) - 1
        share += 1 / len(values)
    return (squares / freedom * share if freedom else squares), freedom


def holm(p: Floats) -> Floats:
    """Return p-values corrected for being several (Holm 1979): float64 [M], at most 1.

    Of the i-th smallest of M: the largest of (M - j + 1) p_j over all j <= i.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _shared_columns(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the columns of metrics that all tables have, and that mean something in each."""
    return [
        name
        for name in tables[0].columns
        if name not in ("positives", "first_hit_rank")
        and all(name in table and table[name].notna().any() for table in tables)
    ]


def _cluster(classes: pd.Series) -> tuple[Clusters, bool]:
    by_class = cluster_by_labels(classes.tolist())
    if by_class.units >= FEWEST_CLASSES:
        return by_class, True
    return cluster_by_unit(np.arange(len(classes))), False


def _mean(values: Floats) -> Floats:
    """Return the mean over trainings, [T, Q, M] -> [Q, M]; NaN where one of them has none."""
    mean: Floats = values.mean(axis=0)
    return mean


def _holm_of_those_with_a_say(figures: pd.DataFrame) -> Floats:
    says = figures["metric"].map(higher_is_better).to_numpy(bool)
    corrected = np.full(len(figures), np.nan)
    corrected[says] = holm(figures.loc[says, "p"].to_numpy(np.float64))
    return corrected


def _in_order(figures: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order people read them: MAIN first, what has no say last."""
    says = figures["metric"].map(higher_is_better)
    rank = np.where(figures["metric"] == MAIN, 0, np.where(says, 1, 2))
    columns = [field.name for field in COMPARISON.columns]
    return figures.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)[columns]
