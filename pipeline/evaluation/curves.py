"""Curves of one model: precision over recall, recall over k, and how similar pairs are."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Floats, Ints, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import CURVES
from pipeline.evaluation.metrics import interpolated_precision
from pipeline.evaluation.ranking import Ranks, count_scores
from pipeline.index.relevance import RelevantPairs

RECALLS = np.arange(101) / 100
RECALL_K = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50, 100)
BINS = 100
# More curves than this in one drawing tell nothing apart.
MOST_CLASSES = 50


@dataclass(frozen=True)
class CurveSums:
    """What a block of queries adds to the curves; blocks add up.

    precision: float64 [1 + C, 101], summed over all queries, then over those of each class, for
    which that class alone is relevant. queries: int64 [1 + C]. pairs: int64 [2, B], relevant and
    other pairs in each bin of the score.
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
    """How the curves are cut: `bins` float64 [B + 1] over the score, and the classes of queries.

    labels: int32 [C], the classes that get a curve of their own; empty where there are too many.
    class_of: int64 [P], positions in `labels`, of each label of each query.
    """

    bins: Floats
    labels: NDArray[np.int32]
    class_of: Ints

    def sums(
        self,
        start: int,
        scores: Scores,
        own: Ints,
        pairs: RelevantPairs,
        ranks: Ranks,
        by_class: Ranks,
    ) -> CurveSums:
        """Return what a block of Q queries adds; scores: float32 [Q, G].

        by_class: the ranks of each of their labels, the first of which is label `start` of all.
        """
        precision = np.zeros((1 + len(self.labels), len(RECALLS)))
        queries = np.zeros(len(precision), dtype=np.int64)
        curve = interpolated_precision(ranks, RECALLS)[ranks.counts > 0]
        precision[0], queries[0] = curve.sum(axis=0), len(curve)
        if len(self.labels):
            found = by_class.counts > 0
            classes = self.class_of[start : start + len(by_class)][found]
            np.add.at(precision[1:], classes, interpolated_precision(by_class, RECALLS)[found])
            queries[1:] = np.bincount(classes, minlength=len(self.labels))
        return CurveSums(precision, queries, count_scores(scores, own, pairs, bins=self.bins))


def plan_curves(
    queries: Vectors, gallery: Vectors, query_labels: LabelSets, *, distance: str
) -> CurvePlan:
    """Return the plan for prepared vectors [Q, D], [G, D] and the queries' label sets.

    The score's bins go from -1 to 1 for the cosine. Euclidean scores lie between 0 and minus the
    largest distance that is possible given how far both sides reach from the gallery's centre.
    """
    labels, class_of = np.unique(query_labels.values, return_inverse=True)
    if len(labels) > MOST_CLASSES:
        labels, class_of = labels[:0], np.zeros_like(class_of)
    low, high = -1.0, 1.0
    if distance == "euclidean":
        centre = gallery.mean(axis=0, dtype=np.float64)
        reach = sum(np.linalg.norm(side - centre, axis=1).max() for side in (queries, gallery))
        low, high = -max(float(reach), 1e-6), 0.0
    return CurvePlan(np.linspace(low, high, BINS + 1), labels, class_of)


def curves_table(plan: CurvePlan, sums: CurveSums, first_hit_rank: Floats, most: int) -> pa.Table:
    """Return the CURVES table.

    precision_recall: x recall, y interpolated precision averaged over queries; label null for
    all, else a class, to which relevant is what has that class. recall_at_k: x k up to `most`.
    similarity_positive, similarity_negative: x the middle of a bin, y the density (its area is 1)
    of relevant and of other pairs.

    first_hit_rank: float64 [Q], NaN where a query has no relevant image.
    """
    rows = _curve("precision_recall", RECALLS, sums.precision[0] / sums.queries[0])
    for label, precision, count in zip(
        plan.labels, sums.precision[1:], sums.queries[1:], strict=True
    ):
        if count:
            rows += _curve("precision_recall", RECALLS, precision / count, label=int(label))
    ranks = first_hit_rank[~np.isnan(first_hit_rank)]
    k = np.array([k for k in RECALL_K if k <= most])
    rows += _curve("recall_at_k", k, np.array([(ranks <= each).mean() for each in k]))
    middles = (plan.bins[1:] + plan.bins[:-1]) / 2
    for name, counts in zip(("positive", "negative"), sums.pairs, strict=True):
        if counts.sum():
            density = counts / counts.sum() / np.diff(plan.bins)
            rows += _curve(f"similarity_{name}", middles, density)
    return pa.Table.from_pylist(rows, schema=pa.schema(CURVES.columns))


def _curve(
    name: str, x: NDArray[np.generic], y: Floats, label: int | None = None
) -> list[dict[str, object]]:
    return [
        {"curve": name, "label": label, "x": float(a), "y": float(b)}
        for a, b in zip(x, y, strict=True)
    ]
