"""The vectors in an index, by row: exactly, or as far as it keeps them."""

from typing import Any

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Vectors
from pipeline.index.centring import strip_centring

# Kinds whose codes faiss does not decode, or only to other vectors.
UNREADABLE = ("FastScan", "RaBitQ")


def keeps_vectors(index: faiss.Index) -> bool:
    """Return whether the vectors in an index can be read again, at least nearly."""
    inner: Any = strip_centring(index)[0]
    while True:
        inner = faiss.downcast_index(inner)
        if any(name in type(inner).__name__ for name in UNREADABLE):
            return False
        if isinstance(inner, faiss.IndexPreTransform):
            steps: Any = inner.chain
            chain = [steps.at(place) for place in range(steps.size())]
            if any(each.d_out < each.d_in for each in chain):
                return False
            inner = inner.index
        elif isinstance(inner, faiss.IndexRefine):
            inner = inner.refine_index
        else:
            return True


class StoredVectors:
    """The vectors of the N rows of an index. Many threads may read them at once."""

    def __init__(self, index: faiss.Index) -> None:
        """index: one that `keeps_vectors`; it is given a map from rows to places in its lists,
        where it needs one."""
        self._index = index
        inner: Any = strip_centring(index)[0]
        if index.ntotal:
            try:
                inner.reconstruct(0)
            except RuntimeError:  # lists, which do not know where a row is
                faiss.extract_index_ivf(inner).make_direct_map()

    def read(self, rows: Ints) -> Vectors:
        """Return float32 [n, D], the vectors of int64 [n] rows, as the index was given them."""
        inner: Any
        inner, centre = strip_centring(self._index)
        vectors: Vectors = inner.reconstruct_batch(np.ascontiguousarray(rows))
        return vectors if centre is None else vectors + centre
