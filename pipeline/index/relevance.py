"""Which gallery images are relevant to a query: those that share at least one label with it."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import LabelSets


@dataclass(frozen=True)
class RelevantPairs:
    """The relevant pairs of Q queries, in compressed rows: query q owns starts[q]:starts[q + 1].

    starts: int64 [Q + 1]. rows: int64 [P], gallery rows, ascending within a query. gains: int64
    [P], the number of labels that the two share.
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

    lists: for each label of the gallery, the gallery rows that have it (compressed rows).
    asked: for each query, the positions of its labels in `lists` (compressed rows).
    own: int64 [Q], the query's own gallery row, -1 where it is not in the gallery.
    """

    list_starts: Ints
    list_rows: Ints
    asked_starts: Ints
    asked: Ints
    own: Ints
    gallery: int

    def pairs(self, start: int, stop: int) -> RelevantPairs:
        """Return the relevant pairs of the queries `start:stop`."""
        window = (self.list_starts, self.list_rows, self.asked_starts[start : stop + 1], self.asked)
        own = self.own[start:stop]
        starts = np.zeros(stop - start + 1, dtype=np.int64)
        none = np.empty(0, dtype=np.int64)
        _walk_pairs(*window, own, self.gallery, starts, none, none, False)
        starts = np.cumsum(starts)
        rows, gains = np.empty((2, starts[-1]), dtype=np.int64)
        _walk_pairs(*window, own, self.gallery, starts, rows, gains, True)
        return RelevantPairs(starts, rows, gains)

    @property
    def most_found(self) -> int:
        """How many images every query can find: the gallery, without a query that is in it."""
        return self.gallery - int((self.own >= 0).any())


def find_relevance(labels: LabelSets, is_query: Mask, is_gallery: Mask) -> Relevance:
    """Return the relevance among N images; is_query, is_gallery: bool [N].

    Queries and gallery images are numbered in the order of the images.
    """
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(is_gallery)
    found = labels.take(gallery)
    names, listed = np.unique(found.values, return_inverse=True)
    # A stable sort by label keeps the gallery rows of one label ascending.
    order = np.argsort(listed, kind="stable")
    row_of = np.repeat(np.arange(len(gallery)), np.diff(found.starts))
    list_starts = np.concatenate([[0], np.cumsum(np.bincount(listed, minlength=len(names)))])
    asked = labels.take(queries)
    known = np.isin(asked.values, names)
    kept = np.concatenate([[0], np.cumsum(known)])
    place = np.cumsum(is_gallery) - 1
    return Relevance(
        list_starts=list_starts.astype(np.int64),
        list_rows=row_of[order].astype(np.int64),
        asked_starts=kept[asked.starts].astype(np.int64),
        asked=np.searchsorted(names, asked.values[known]).astype(np.int64),
        own=np.where(is_gallery[queries], place[queries], -1).astype(np.int64),
        gallery=len(gallery),
    )


def sample_pairs(
    pairs: RelevantPairs, own: Ints, gallery: int, *, uniforms: NDArray[np.float64]
) -> Ints:
    """Return int64 [2, Q, n]: n relevant and n other gallery rows of each query, drawn evenly.

    They are distinct as far as there are enough, then repeat in turn; -1 where there is none. The
    query's own image is never drawn.

    uniforms: float64 [Q, n, 2] in [0, 1), the chance behind the draw.
    """
    drawn = np.full((2, *uniforms.shape[:2]), -1, dtype=np.int64)
    _fill_samples(pairs.starts, pairs.rows, own, gallery, uniforms, drawn)
    return drawn


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _walk_pairs(
    list_starts: Ints,
    list_rows: Ints,
    asked_starts: Ints,
    asked: Ints,
    own: Ints,
    gallery: int,
    starts: Ints,
    rows: Ints,
    gains: Ints,
    write: bool,
) -> None:
    """Count each query's relevant rows into starts[q + 1], or `write` them where starts says."""
    gain = np.zeros(gallery, dtype=np.int64)
    for q in range(len(own)):
        first, last = asked_starts[q], asked_starts[q + 1]
        for i in range(first, last):
            for j in range(list_starts[asked[i]], list_starts[asked[i] + 1]):
                gain[list_rows[j]] += 1
        if own[q] >= 0:
            gain[own[q]] = 0
        place = starts[q] if write else 0
        for i in range(first, last):
            # One label's list is in order already; several are merged by one scan of the gallery.
            whole = last - first > 1
            low = 0 if whole else list_starts[asked[i]]
            high = gallery if whole else list_starts[asked[i] + 1]
            for j in range(low, high):
                row = j if whole else list_rows[j]
                if gain[row] > 0:
                    if write:
                        rows[place] = row
                        gains[place] = gain[row]
                    place += 1
                    gain[row] = 0
            if whole:
                break
        if not write:
            starts[q + 1] = place


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_samples(
    starts: Ints,
    rows: Ints,
    own: Ints,
    gallery: int,
    uniforms: NDArray[np.float64],
    drawn: Ints,
) -> None:
    """Draw without replacement in n steps (Floyd's algorithm, Bentley 1987)."""
    queries, n = uniforms.shape[:2]
    for q in range(queries):
        relevant = rows[starts[q] : starts[q + 1]]
        itself = 1 if own[q] >= 0 else 0
        for kind in range(2):
            there = len(relevant) if kind == 0 else gallery - len(relevant) - itself
            distinct = min(n, there)
            places = drawn[kind, q]
            for i in range(distinct):
                most = there - distinct + i
                place = int(uniforms[q, i, kind] * (most + 1))
                for before in range(i):
                    if places[before] == place:
                        place = most
                        break
                places[i] = place
            for i in range(distinct, n):
                places[i] = places[i - distinct] if distinct else -1
            for i in range(n):
                if places[i] >= 0:
                    if kind == 0:
                        places[i] = relevant[places[i]]
                    else:
                        places[i] = _skip(places[i], relevant, own[q])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _skip(place: int, relevant: Ints, own: int) -> int:
    """Return the gallery row of the `place`-th image that is neither relevant nor `own`."""
    passed = own < 0
    for row in relevant:
        if not passed and own < row:
            passed = True
            if own <= place:
                place += 1
        if row <= place:
            place += 1
        else:
            break
    if not passed and own <= place:
        place += 1
    return place
