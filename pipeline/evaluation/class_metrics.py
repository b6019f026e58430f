"""Metrics class by class: relevant for a class are the images that have this class.

If images have many labels, "shares a label" is easy to satisfy: if half of them show a person, any
of those is relevant to half of all queries. Here each class of a query is evaluated alone, so that
a rare class is judged by its own images, and the macro mean weighs all classes equally.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit

from pipeline.data.arrays import Floats, Ints, Labels
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import CLASS_RESULTS
from pipeline.evaluation.ranking import Ranks

# The columns of CLASS_RESULTS that also have a macro mean.
MACRO_COLUMNS = ("map", "knn_accuracy")


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of P pairs: a query, and a class that it shares with another gallery image.

    queries: int64 [P], ascending, positions among all queries. labels: int32 [P]. columns: name ->
    float64 [P], the metric of that query for that class: `map` is its average precision and
    `recall_at_<k>` its recall with "has this class" as relevance; `knn_accuracy` is 1 if the
    neighbors vote for any label of the query, because one vote cannot name them all.
    """

    queries: Ints
    labels: Labels
    columns: dict[str, Floats]

    @property
    def classes(self) -> Labels:
        """The C distinct labels, int32 [C], ascending."""
        return np.unique(self.labels)

    @property
    def class_of(self) -> Ints:
        """The position of each pair's label in `classes`, int64 [P]."""
        return np.searchsorted(self.classes, self.labels)

    @property
    def counts(self) -> Ints:
        """The queries of each class, int64 [C]."""
        return np.bincount(self.class_of, minlength=len(self.classes))

    def class_means(self) -> dict[str, Floats]:
        """Return column -> float64 [C], its mean over the queries of each class."""
        class_of, counts = self.class_of, self.counts
        return {
            name: np.bincount(class_of, weights=values, minlength=len(counts)) / counts
            for name, values in self.columns.items()
        }

    @property
    def macro_columns(self) -> list[str]:
        """The columns that have a macro mean."""
        return [name for name in MACRO_COLUMNS if name in self.columns]

    def macro_means(self) -> dict[str, float]:
        """Return macro_<name> -> the mean over classes of the class means.

        So a class of ten queries weighs as much as one of a thousand.
        """
        means = self.class_means()
        return {f"macro_{name}": float(means[name].mean()) for name in self.macro_columns}

    def tabulate(self) -> pa.Table:
        """Return the CLASS_RESULTS table: a row for each class, the columns of `class_means`."""
        columns = {"label": self.classes, "queries": self.counts} | self.class_means()
        fields = [*CLASS_RESULTS.columns, *(pa.field(name, pa.float64()) for name in self.columns)]
        return pa.table(columns, schema=pa.schema(fields))


def rank_by_class(ranks: Ranks, gallery: LabelSets, queries: LabelSets) -> Ranks:
    """Return the ranks of each class of each query: one for each of the P labels of `queries`.

    Relevant to it are the images that have that class, so each gain is 1, and the functions of
    `pipeline.evaluation.metrics` give the metrics of the class. The ranks are those in the ranking
    of the whole gallery.

    ranks: of Q queries. gallery, queries: the label sets of G gallery images and Q queries.
    """
    if queries.single:
        return ranks
    ranking = (ranks.starts, ranks.ranks, ranks.rows)
    labels = (gallery.starts, gallery.values, queries.starts, queries.values)
    starts = np.zeros(len(queries.values) + 1, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int64)
    _walk_classes(*ranking, *labels, starts[1:], nothing, nothing, False)
    starts = np.cumsum(starts)
    class_ranks, rows = np.empty((2, starts[-1]), dtype=np.int64)
    _walk_classes(*ranking, *labels, starts[:-1].copy(), class_ranks, rows, True)
    return Ranks(starts, class_ranks, rows, np.ones_like(rows))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _walk_classes(
    starts: Ints,
    ranks: Ints,
    rows: Ints,
    gallery_starts: Ints,
    gallery_values: Labels,
    query_starts: Ints,
    query_values: Labels,
    places: Ints,
    class_ranks: Ints,
    class_rows: Ints,
    write: bool,
) -> None:
    """Count each class's relevant images into `places`, or `write` them from there on."""
    for q in range(len(query_starts) - 1):
        for p in range(starts[q], starts[q + 1]):
            i, last = query_starts[q], query_starts[q + 1]
            j, end = gallery_starts[rows[p]], gallery_starts[rows[p] + 1]
            # Both sets are ascending, so one walk along them finds all shared labels.
            while i < last and j < end:
                if query_values[i] == gallery_values[j]:
                    if write:
                        class_ranks[places[i]] = ranks[p]
                        class_rows[places[i]] = rows[p]
                    places[i] += 1
                    i += 1
                    j += 1
                elif query_values[i] < gallery_values[j]:
                    i += 1
                else:
                    j += 1
