"""Which gallery images are relevant to a query: those that share at least one label with it."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline.data.arrays import Floats, Ints, Mask
from pipeline.data.label_sets import LabelSets


@dataclass(frozen=True)
class RelevantPairs:
    """The relevant pairs of Q queries: those of query q are at starts[q]:starts[q + 1].

    starts: int64 [Q + 1]. rows: int64 [P], gallery rows, ascending within a query. gains: int64
    [P], the number of labels that the two images share.
    """

    starts: Ints
    rows: Ints
    gains: Ints

    @property
    def counts(self) -> Ints:
        """Relevant gallery images of each query, int64 [Q]."""
        return np.diff(self.starts)

    def take(self, queries: Ints) -> "RelevantPairs":
        """Return the pairs of `queries`, in that order."""
        counts = self.counts[queries]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.repeat(self.starts[queries] - starts[:-1], counts) + np.arange(starts[-1])
        return RelevantPairs(starts, self.rows[places], self.gains[places])


@dataclass(frozen=True)
class Relevance:
    """Q queries and G gallery images by label. A query's own image is never relevant to it.

    label_rows: the gallery rows that have label l of the gallery's L labels, ascending, at
    label_starts[l]:label_starts[l + 1].
    query_labels: those of the L labels that query q has, at query_starts[q]:query_starts[q + 1].
    own_rows: int64 [Q], the gallery row of the query itself, -1 if it is not in the gallery.
    """

    label_starts: Ints
    label_rows: Ints
    query_starts: Ints
    query_labels: Ints
    own_rows: Ints
    gallery_size: int

    def pairs(self, start: int, stop: int) -> RelevantPairs:
        """Return the relevant pairs of the queries `start:stop`."""
        labels = (
            self.label_starts,
            self.label_rows,
            self.query_starts[start : stop + 1],
            self.query_labels,
        )
        own_rows = self.own_rows[start:stop]
        starts = np.zeros(stop - start + 1, dtype=np.int64)
        nothing = np.empty(0, dtype=np.int64)
        _walk_pairs(*labels, own_rows, self.gallery_size, starts, nothing, nothing, False)
        starts = np.cumsum(starts)
        rows, gains = np.empty((2, starts[-1]), dtype=np.int64)
        _walk_pairs(*labels, own_rows, self.gallery_size, starts, rows, gains, True)
        return RelevantPairs(starts, rows, gains)

    @property
    def max_k(self) -> int:
        """The number of neighbors that every query has: the gallery, without the query itself."""
        return self.gallery_size - int((self.own_rows >= 0).any())


def find_relevance(labels: LabelSets, is_query: Mask, is_gallery: Mask) -> Relevance:
    """Return the relevance among N images; is_query, is_gallery: bool [N].

    Queries and gallery images are numbered in the order of the images.
    """
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(is_gallery)
    of_gallery, of_queries = labels.take(gallery), labels.take(queries)
    names, label_of_pair = np.unique(of_gallery.values, return_inverse=True)
    # A stable sort by label keeps the gallery rows of one label ascending.
    order = np.argsort(label_of_pair, kind="stable")
    row_of_pair = np.repeat(np.arange(len(gallery)), np.diff(of_gallery.starts))
    counts = np.bincount(label_of_pair, minlength=len(names))
    in_gallery = np.isin(of_queries.values, names)
    kept_before = np.concatenate([[0], np.cumsum(in_gallery)])
    gallery_row = np.cumsum(is_gallery) - 1
    return Relevance(
        label_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        label_rows=row_of_pair[order].astype(np.int64),
        query_starts=kept_before[of_queries.starts].astype(np.int64),
        query_labels=np.searchsorted(names, of_queries.values[in_gallery]).astype(np.int64),
        own_rows=np.where(is_gallery[queries], gallery_row[queries], -1).astype(np.int64),
        gallery_size=len(gallery),
    )


def sample_pairs(
    pairs: RelevantPairs, own_rows: Ints, gallery_size: int, *, uniforms: Floats
) -> Ints:
    """Return int64 [2, Q, n]: n relevant and n other gallery rows of each query, sampled evenly.

    They are distinct as long as there are enough, then repeat from the first; -1 if there are none.
    The query's own image is never sampled.

    uniforms: float64 [Q, n, 2] in [0, 1), the random numbers to sample with.
    """
    sampled = np.full((2, *uniforms.shape[:2]), -1, dtype=np.int64)
    _fill_samples(pairs.starts, pairs.rows, own_rows, gallery_size, uniforms, sampled)
    return sampled


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _walk_pairs(
    label_starts: Ints,
    label_rows: Ints,
    query_starts: Ints,
    query_labels: Ints,
    own_rows: Ints,
    gallery_size: int,
    starts: Ints,
    rows: Ints,
    gains: Ints,
    write: bool,
) -> None:
    """Count each query's relevant rows into starts[q + 1]; or `write` them, from starts[q] on."""
    gain = np.zeros(gallery_size, dtype=np.int64)
    for q in range(len(own_rows)):
        first, last = query_starts[q], query_starts[q + 1]
        for i in range(first, last):
            label = query_labels[i]
            for j in range(label_starts[label], label_starts[label + 1]):
                gain[label_rows[j]] += 1
        if own_rows[q] >= 0:
            gain[own_rows[q]] = 0
        place = starts[q] if write else 0
        for i in range(first, last):
            # The rows of one label are in order; those of several are merged by a gallery scan.
            several = last - first > 1
            low = 0 if several else label_starts[query_labels[i]]
            high = gallery_size if several else label_starts[query_labels[i] + 1]
            for j in range(low, high):
                row = j if several else label_rows[j]
                if gain[row] > 0:
                    if write:
                        rows[place] = row
                        gains[place] = gain[row]
                    place += 1
                    gain[row] = 0
            if several:
                break
        if not write:
            starts[q + 1] = place


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_samples(
    starts: Ints,
    rows: Ints,
    own_rows: Ints,
    gallery_size: int,
    uniforms: Floats,
    sampled: Ints,
) -> None:
    """Sample without replacement in n steps (Floyd's algorithm, Bentley 1987)."""
    queries, n = uniforms.shape[:2]
    for q in range(queries):
        relevant = rows[starts[q] : starts[q + 1]]
        own = 1 if own_rows[q] >= 0 else 0
        for kind in range(2):
            count = len(relevant) if kind == 0 else gallery_size - len(relevant) - own
            distinct = min(n, count)
            places = sampled[kind, q]
            for i in range(distinct):
                highest = count - distinct + i
                place = int(uniforms[q, i, kind] * (highest + 1))
                for before in range(i):
                    if places[before] == place:
                        place = highest
                        break
                places[i] = place
            for i in range(distinct, n):
                places[i] = places[i - distinct] if distinct else -1
            for i in range(n):
                if places[i] >= 0:
                    if kind == 0:
                        places[i] = relevant[places[i]]
                    else:
                        places[i] = _find_other_row(places[i], relevant, own_rows[q])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_other_row(place: int, relevant: Ints, own_row: int) -> int:
    """Return the `place`-th gallery row that is neither in `relevant` nor `own_row`."""
    own_counted = own_row < 0
    for row in relevant:
        if not own_counted and own_row < row:
            own_counted = True
            if own_row <= place:
                place += 1
        if row <= place:
            place += 1
        else:
            break
    if not own_counted and own_row <= place:
        place += 1
    return place
