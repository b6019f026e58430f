"""Vectors added to an index part after part: a copy of all would be as large as the index.

By other processes, each part is coded into an index of its own, and these are merged in order: the
same bytes as of one that all parts were added to.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Vectors
from pipeline.index.distances import prepare_checked, subtract
from pipeline.workers import Workers

PART = 65_536


@dataclass(frozen=True)
class Parts:
    """Vectors, float32 [N, D], in parts of `size` rows; `centre` as `find_centre`."""

    vectors: Vectors
    distance: str
    centre: Vectors | None
    size: int

    @property
    def starts(self) -> range:
        """The first row of each part."""
        return range(0, len(self.vectors), max(self.size, 1))

    def take(self, rows: Ints | slice) -> Vectors:
        """Return rows as an index takes them."""
        return subtract(prepare_checked(self.vectors[rows], distance=self.distance), self.centre)

    def part(self, start: int) -> Vectors:
        """Return the part that begins with a row."""
        return self.take(slice(start, start + self.size))


def add_parts(index: faiss.Index, parts: Parts, workers: Workers) -> None:
    """Add all parts to a trained index."""
    if workers.are_here:
        for start in parts.starts:
            index.add(parts.part(start))
        return
    empty = faiss.serialize_index(index)
    for coded in workers.map(partial(_code_part, empty, parts), parts.starts):
        _merge(index, faiss.deserialize_index(coded))


def _code_part(empty: NDArray[np.uint8], parts: Parts, start: int) -> NDArray[np.uint8]:
    index = faiss.deserialize_index(empty)
    index.add(parts.part(start))
    coded: NDArray[np.uint8] = faiss.serialize_index(index)
    return coded


def _merge(whole: Any, part: Any) -> None:
    """Move the vectors of an index behind those of another one of its kind."""
    # Views of these two, which are freed with them: so neither name is given up.
    index: Any = faiss.downcast_index(whole)
    other: Any = faiss.downcast_index(part)
    before, added = index.ntotal, other.ntotal
    if isinstance(index, faiss.IndexPreTransform):
        _merge(index.index, other.index)
    elif isinstance(index, faiss.IndexRefine):
        _merge(index.base_index, other.base_index)
        # Exact vectors, whose index is of another class where it was read.
        exact: Any = faiss.downcast_index(other.refine_index)
        vectors = faiss.vector_to_array(exact.codes).view(np.float32)
        faiss.downcast_index(index.refine_index).add(vectors.reshape(added, -1))
    else:
        # Lists keep the number of each vector, which goes on from those before.
        index.merge_from(other, before if isinstance(index, faiss.IndexIVF) else 0)
    index.ntotal = before + added
