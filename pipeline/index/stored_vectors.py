"""The vectors in an index, by row: exactly, or as far as it keeps them."""

from typing import Any

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Vectors
from pipeline.index.centring import strip_centring


class StoredVectors:
    """The vectors of the N rows of an index. Many threads may read them at once."""

    def __init__(self, index: faiss.Index) -> None:
        """index: kept, and given a map from rows to places in its lists, where it needs one."""
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
