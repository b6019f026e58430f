"""Label sets of many images as two flat arrays, as compiled loops need them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UserError

FEWEST_TO_FIND = 2  # images of a class: a query among them has another one to find


@dataclass(frozen=True)
class LabelSets:
    """N label sets in compressed rows: set i is `values[starts[i]:starts[i + 1]]`, ascending.

    starts: int64 [N + 1]. values: int32 [total]. No set is empty: packing leaves images without
    labels out. In a single-label dataset each set has one label.
    """

    starts: NDArray[np.int64]
    values: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[np.int64]) -> "LabelSets":
        """Return the sets at `rows`, in that order."""
        counts = (self.starts[1:] - self.starts[:-1])[rows]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        return LabelSets(starts, self.values[np.repeat(self.starts[:-1][rows], counts) + within])

    def first(self) -> NDArray[np.int32]:
        """Return each set's first label, int32 [N]: its only label in a single-label dataset."""
        return self.values[self.starts[:-1]]

    def count(self, among: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many images of `among`, bool [N], have each label: int64 [largest + 1]."""
        counted = np.repeat(among, np.diff(self.starts))
        return np.bincount(self.values[counted], minlength=int(self.values.max()) + 1)

    def have_relevant(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return bool [N]: whether another image of `among`, bool [N], shares a label with each."""
        counts = self.count(among)
        # An image of `among` is counted under each of its labels; it is not relevant to itself.
        found = counts[self.values] - np.repeat(among, np.diff(self.starts)) > 0
        return np.logical_or.reduceat(found, self.starts[:-1])

    @property
    def single(self) -> bool:
        """Whether every set has exactly one label."""
        return len(self.values) == len(self) and bool(np.all(np.diff(self.starts) == 1))


def label_sets(column: pa.ChunkedArray) -> LabelSets:
    """Return the label sets of a catalog's `labels` column, each sorted and without repeats."""
    lists = column.combine_chunks()
    starts = lists.offsets.to_numpy().astype(np.int64)
    return _tidy(starts, lists.values.to_numpy().astype(np.int32))


def from_lists(lists: list[list[int]]) -> LabelSets:
    """Return label sets from plain lists, each sorted and without repeats."""
    starts = np.concatenate([[0], np.cumsum([len(labels) for labels in lists])]).astype(np.int64)
    flat = [label for labels in lists for label in labels]
    return _tidy(starts, np.array(flat, dtype=np.int32))


def _tidy(starts: NDArray[np.int64], values: NDArray[np.int32]) -> LabelSets:
    """Return values[starts[i]:starts[i + 1]] as sets, each sorted and without repeats."""
    if not np.all(np.diff(starts) > 0):
        raise UserError(
            f"labels: image {int(np.argmin(np.diff(starts)))} of {len(starts) - 1} has none; "
            "allowed: one or more for each, as packing writes them; run: dvc repro download"
        )
    count = len(starts) - 1
    owners = np.repeat(np.arange(count), np.diff(starts))
    values = values[starts[0] : starts[-1]]
    order = np.lexsort((values, owners))
    values, owners = values[order], owners[order]
    fresh = np.ones(len(values), dtype=bool)
    fresh[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    sizes = np.bincount(owners[fresh], minlength=count)
    return LabelSets(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), values[fresh])
