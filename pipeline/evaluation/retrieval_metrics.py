"""The metrics of queries against a gallery: of each query, of each class, and their means."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Floats, Ints
from pipeline.evaluation.class_metrics import ClassMetrics

# Metric of one query -> the field's name for its mean over queries, if that is another name.
MEAN_NAMES = {
    "average_precision": "map",
    "average_precision_at_r": "map_at_r",
    "reciprocal_rank": "mrr",
    "knn_correct": "knn_accuracy",
}


@dataclass(frozen=True)
class RetrievalMetrics:
    """The metrics of Q queries against G gallery images.

    per_query: column -> float64 [Q]; NaN for a query without a relevant image.
    positives: int64 [Q], the relevant images of each. first_hit_rank: float64 [Q].
    nearest: int64 [Q, K], the gallery rows of the highest scores, K = max(nearest, knn).
    ranked: int64 [Q, K], the first of the ranking; those of `nearest` unless it is re-ranked.
    max_k: the number of neighbors that every query has, so the largest allowed k.
    by_class: the metrics of each class of each query. curves: the CURVES table, or None.
    """

    per_query: dict[str, Floats]
    positives: Ints
    first_hit_rank: Floats
    nearest: Ints
    ranked: Ints
    max_k: int
    by_class: ClassMetrics
    curves: pa.Table | None

    @property
    def means(self) -> dict[str, float]:
        """Metric -> its mean over the queries that have a relevant image."""
        return {
            MEAN_NAMES.get(column, column): float(np.nanmean(values))
            for column, values in self.per_query.items()
            # If every gallery image is relevant, there is no triplet and so no value.
            if not np.isnan(values).all()
        }

    @property
    def queries_without_positives(self) -> int:
        """The number of queries without a relevant gallery image, which no mean includes."""
        return int(np.sum(self.positives == 0))

    def with_columns(self, columns: dict[str, Floats]) -> "RetrievalMetrics":
        """Return this with more columns, float64 [Q], set to NaN for queries without positives."""
        masked = {
            name: np.where(self.positives > 0, values, np.nan) for name, values in columns.items()
        }
        return replace(self, per_query=self.per_query | masked)
