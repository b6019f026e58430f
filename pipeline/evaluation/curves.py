"""Curves of one model: precision over recall, recall over k, and the scores of pairs."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Floats, Ints, Labels, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import CURVES
from pipeline.evaluation.metrics import interpolated_precision
from pipeline.evaluation.ranking import Ranks, count_scores
from pipeline.index.relevance import RelevantPairs

RECALLS = np.arange(101) / 100
RECALL_K = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50, 100)
BINS = 100
# With more classes, their curves in one figure cannot be told apart.
MAX_CLASSES = 50


@dataclass(frozen=True)
class CurveSums:
    """The sums over a block of queries that the curves are made of; blocks add up.

    precision: float64 [1 + C, 101], the sum over all queries, then over those of each class, with
    only that class as relevant. queries: int64 [1 + C]. pairs: int64 [2, B], relevant and other
    pairs in each bin of the score.
    """

    precision: Floats
    queries: Ints
    pairs: Ints

    def __add__(self, other: "CurveSums") -> "CurveSums":
        return CurveSums(
            self.precision + other.precision,
            self.queries + other.queries,
            self.pairs + other.pairs,
        )


@dataclass(frozen=True)
class CurvePlan:
    """The bins of the score, and the classes that have their own curve.

    bins: float64 [B + 1], edges. labels: int32 [C], the classes; empty if there are too many.
    class_of: int64 [P], the position in `labels` of each label of each query.
    """

    bins: Floats
    labels: Labels
    class_of: Ints

    def sum_block(
        self,
        start: int,
        scores: Scores,
        own_rows: Ints,
        pairs: RelevantPairs,
        ranks: Ranks,
        class_ranks: Ranks,
    ) -> CurveSums:
        """Return the sums of a block of Q queries; scores: float32 [Q, G].

        class_ranks: the ranks for each of their labels, the first of which is number `start` of the
        labels of all queries.
        """
        precision = np.zeros((1 + len(self.labels), len(RECALLS)))
        queries = np.zeros(len(precision), dtype=np.int64)
        curves = interpolated_precision(ranks, RECALLS)[ranks.counts > 0]
        precision[0], queries[0] = curves.sum(axis=0), len(curves)
        if len(self.labels):
            has_relevant = class_ranks.counts > 0
            class_of = self.class_of[start : start + len(class_ranks)][has_relevant]
            curves = interpolated_precision(class_ranks, RECALLS)[has_relevant]
            np.add.at(precision[1:], class_of, curves)
            queries[1:] = np.bincount(class_of, minlength=len(self.labels))
        return CurveSums(precision, queries, count_scores(scores, own_rows, pairs, bins=self.bins))


def plan_curves(
    queries: Vectors, gallery: Vectors, query_labels: LabelSets, *, distance: str
) -> CurvePlan:
    """Return the plan for prepared vectors [Q, D], [G, D] and the queries' label sets.

    The bins of the cosine go from -1 to 1. Those of a Euclidean score go from minus the largest
    possible distance to 0: the farthest query and the farthest gallery image from the gallery's
    centre give that distance.
    """
    labels, class_of = np.unique(query_labels.values, return_inverse=True)
    if len(labels) > MAX_CLASSES:
        labels, class_of = labels[:0], np.zeros_like(class_of)
    low, high = -1.0, 1.0
    if distance == "euclidean":
        centre = gallery.mean(axis=0, dtype=np.float64)
        largest = sum(np.linalg.norm(each - centre, axis=1).max() for each in (queries, gallery))
        low, high = -max(float(largest), 1e-6), 0.0
    return CurvePlan(np.linspace(low, high, BINS + 1), labels, class_of)


def tabulate_curves(
    plan: CurvePlan, sums: CurveSums, first_hit_rank: Floats, max_k: int
) -> pa.Table:
    """Return the CURVES table.

    precision_recall: x is recall, y the mean interpolated precision of queries; label is null for
    all queries, or a class, with the images of that class as relevant. recall_at_k: x is k up to
    `max_k`. similarity_positive, similarity_negative: x is the middle of a bin, y the density (its
    area is 1) of relevant and of other pairs.

    first_hit_rank: float64 [Q], NaN for a query without a relevant image.
    """
    rows = _list_points("precision_recall", RECALLS, sums.precision[0] / sums.queries[0])
    for label, precision, count in zip(
        plan.labels, sums.precision[1:], sums.queries[1:], strict=True
    ):
        if count:
            rows += _list_points("precision_recall", RECALLS, precision / count, label=int(label))
    ranks = first_hit_rank[~np.isnan(first_hit_rank)]
    k = np.array([k for k in RECALL_K if k <= max_k])
    rows += _list_points("recall_at_k", k, np.array([(ranks <= each).mean() for each in k]))
    middles = (plan.bins[1:] + plan.bins[:-1]) / 2
    for name, counts in zip(("positive", "negative"), sums.pairs, strict=True):
        if counts.sum():
            density = counts / counts.sum() / np.diff(plan.bins)
            rows += _list_points(f"similarity_{name}", middles, density)
    return pa.Table.from_pylist(rows, schema=pa.schema(CURVES.columns))


def _list_points(
    name: str, x: NDArray[np.generic], y: Floats, label: int | None = None
) -> list[dict[str, object]]:
    return [
        {"curve": name, "label": label, "x": float(a), "y": float(b)}
        for a, b in zip(x, y, strict=True)
    ]
