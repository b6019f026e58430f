"""Groups of queries whose results are correlated: those that share a label."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.data.arrays import Floats, Ints

BLOCK = 1024  # label sets whose overlap with all others is held at once
NO_LABEL = frozenset([()])


@dataclass(frozen=True)
class Clusters:
    """Queries by their label sets, and label sets by their labels, the units that are resampled.

    sets: int64 [Q], the label set of each query, from 0 on. labels: sparse float64 [S, U], 1 for
    each label of each set; a set has at least one.
    """

    sets: Ints
    labels: sparse.csr_matrix

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.labels.shape[1])

    @property
    def is_partition(self) -> bool:
        """Whether each query has one label alone, so that no two units share a query."""
        return int(self.labels.nnz) == int(self.labels.shape[0])

    def sum_by_set(self, values: Floats | NDArray[np.bool_]) -> Floats:
        """Return the sums over the queries of each label set: [Q, M] -> float64 [S, M]."""
        places = (self.sets, np.arange(len(self.sets)))
        shape = (self.labels.shape[0], len(self.sets))
        summing = sparse.csr_matrix((np.ones(len(self.sets)), places), shape=shape)
        sums: Floats = summing @ values.astype(np.float64)
        return sums

    def share_out(self, of_sets: Floats) -> Floats:
        """Return what falls to each unit, a set's value in equal parts to its labels: [U, M]."""
        labels = np.asarray(self.labels.sum(axis=1)).reshape(-1, 1)  # (S, 1)
        shares: Floats = self.labels.T @ (of_sets / labels)
        return shares

    def sum_shared(self, of_sets: Floats) -> Floats:
        """Return the sum of x_q x_r over all pairs of queries q, r that share a label: [M].

        of_sets: float64 [S, M], the sums of x over the queries of each label set. With one label
        a query it is the sum of the squares of the units' sums.
        """
        if self.is_partition:
            squares: Floats = (self.share_out(of_sets) ** 2).sum(axis=0)
            return squares
        total: Floats = np.zeros(of_sets.shape[1])
        for start in range(0, len(of_sets), BLOCK):
            some = slice(start, start + BLOCK)
            overlap = (self.labels[some] @ self.labels.T).toarray() > 0  # (BLOCK, S)
            total += (of_sets[some] * (overlap @ of_sets)).sum(axis=0)
        return total


def cluster_by_unit(units: Ints) -> Clusters:
    """Return the clusters of queries with one unit each: int64 [Q], from 0 on."""
    count = int(units.max()) + 1
    return Clusters(units, sparse.identity(count, format="csr"))


def cluster_by_labels(label_sets: Sequence[Collection[Hashable]]) -> Clusters:
    """Return the clusters of queries with one or several labels each.

    Those without any are taken to share one.
    """
    known: dict[frozenset[Hashable], int] = {}
    sets = [known.setdefault(frozenset(labels) or NO_LABEL, len(known)) for labels in label_sets]
    codes: dict[Hashable, int] = {}
    places = [
        (place, codes.setdefault(label, len(codes)))
        for labels, place in known.items()
        for label in sorted(labels, key=repr)  # a set has no order of its own
    ]
    rows, columns = np.array(places, dtype=np.int64).T
    shape = (len(known), len(codes))
    matrix = sparse.csr_matrix((np.ones(len(places)), (rows, columns)), shape=shape)
    return Clusters(np.array(sets, dtype=np.int64), matrix)
