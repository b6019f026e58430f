"""A faiss index that moves all vectors by a centre first, so that it keeps their digits."""

from typing import Any

import faiss

from pipeline.data.arrays import Vectors


def add_centring(index: faiss.Index, centre: Vectors | None) -> faiss.Index:
    """Return an index that subtracts the centre from all vectors and queries before `index`."""
    if centre is None:
        return index
    transform = faiss.CenteringTransform(len(centre))
    faiss.copy_array_to_vector(centre, transform.mean)
    transform.is_trained = True
    return faiss.IndexPreTransform(transform, index)


def strip_centring(index: faiss.Index) -> tuple[faiss.Index, Vectors | None]:
    """Return the index inside one of `add_centring` with its centre; else the index and None.

    The index inside lives as long as `index`.
    """
    # faiss adds methods to its vectors at import, which type checkers do not see.
    chain: Any = index.chain if isinstance(index, faiss.IndexPreTransform) else None
    if chain is not None and chain.size() == 1:
        transform = faiss.downcast_VectorTransform(chain.at(0))
        if isinstance(transform, faiss.CenteringTransform):
            centre: Vectors = faiss.vector_to_array(transform.mean)
            inner: Any = index
            return faiss.downcast_index(inner.index), centre
    return index, None
