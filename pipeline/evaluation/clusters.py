"""Clusters of queries: queries that share a label have correlated results.

The bootstrap resamples units: a unit is a class with all of its queries, or a single query. A
query with several labels belongs to several units.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.data.arrays import Floats, Ints, Mask
from pipeline.data.label_sets import LabelSets

SETS_AT_ONCE = 1024  # label sets whose overlap with all others is in memory at once
NO_LABEL = frozenset([()])


@dataclass(frozen=True)
class Clusters:
    """Q queries by their S label sets, and these by their labels, which are the U units.

    sets: int64 [Q], the label set of each query, from 0 on. labels: sparse float64 [S, U], 1 for
    each label of each set; a set has at least one.
    """

    sets: Ints
    labels: sparse.csr_matrix

    @property
    def unit_count(self) -> int:
        """The number of units, U."""
        return int(self.labels.shape[1])

    @property
    def is_partition(self) -> bool:
        """Whether each query has exactly one label, so that no two units share a query."""
        return int(self.labels.nnz) == int(self.labels.shape[0])

    def sum_by_set(self, values: Floats | Mask) -> Floats:
        """Return the sums over the queries of each label set: [Q, M] -> float64 [S, M]."""
        places = (self.sets, np.arange(len(self.sets)))
        shape = (self.labels.shape[0], len(self.sets))
        summing = sparse.csr_matrix((np.ones(len(self.sets)), places), shape=shape)
        sums: Floats = summing @ values.astype(np.float64)
        return sums

    def divide_among_units(self, of_sets: Floats) -> Floats:
        """Return the sum of each unit, [S, M] -> float64 [U, M].

        The value of a label set is divided equally among its labels.
        """
        sizes = np.asarray(self.labels.sum(axis=1)).reshape(-1, 1)  # (S, 1)
        sums: Floats = self.labels.T @ (of_sets / sizes)
        return sums

    def sum_over_related_pairs(self, of_sets: Floats) -> Floats:
        """Return the sum of x_q x_r over all pairs of queries q, r that share a label: [M].

        of_sets: float64 [S, M], the sums of x over the queries of each label set. If each query has
        one label, it is the sum of the squares of the units' sums.
        """
        if self.is_partition:
            squares: Floats = (self.divide_among_units(of_sets) ** 2).sum(axis=0)
            return squares
        total: Floats = np.zeros(of_sets.shape[1])
        for start in range(0, len(of_sets), SETS_AT_ONCE):
            block = slice(start, start + SETS_AT_ONCE)
            overlap = (self.labels[block] @ self.labels.T).toarray() > 0  # (SETS_AT_ONCE, S)
            total += (of_sets[block] * (overlap @ of_sets)).sum(axis=0)
        return total


def cluster_by_unit(units: Ints) -> Clusters:
    """Return the clusters of queries with one unit each: int64 [Q], from 0 on."""
    count = int(units.max()) + 1
    return Clusters(units, sparse.identity(count, format="csr"))


def cluster_by_label_sets(labels: LabelSets) -> Clusters:
    """Return the clusters of Q queries by their labels; unit u is the u-th distinct label.

    Each query has a label at least.
    """
    names, units = np.unique(labels.values, return_inverse=True)
    if labels.single:
        return cluster_by_unit(units)
    set_codes: dict[bytes, int] = {}
    known = [
        set_codes.setdefault(each.tobytes(), len(set_codes))
        for each in np.split(labels.values, labels.starts[1:-1])
    ]
    sets = np.array(known, dtype=np.int64)
    first = np.unique(sets, return_index=True)[1]  # a query of each set
    of_sets = labels.take(first)
    columns = np.searchsorted(names, of_sets.values)
    shape = (len(set_codes), len(names))
    matrix = sparse.csr_matrix((np.ones(len(columns)), columns, of_sets.starts), shape=shape)
    return Clusters(sets, matrix)


def cluster_by_labels(label_sets: Sequence[Collection[Hashable]]) -> Clusters:
    """Return the clusters of queries with one or several labels each; their units are the labels.

    All queries without a label form one unit.
    """
    set_codes: dict[frozenset[Hashable], int] = {}
    sets = [
        set_codes.setdefault(frozenset(labels) or NO_LABEL, len(set_codes)) for labels in label_sets
    ]
    label_codes: dict[Hashable, int] = {}
    places = [
        (row, label_codes.setdefault(label, len(label_codes)))
        for labels, row in set_codes.items()
        for label in sorted(labels, key=repr)  # the order of a set is not fixed
    ]
    rows, columns = np.array(places, dtype=np.int64).T
    shape = (len(set_codes), len(label_codes))
    matrix = sparse.csr_matrix((np.ones(len(places)), (rows, columns)), shape=shape)
    return Clusters(np.array(sets, dtype=np.int64), matrix)
