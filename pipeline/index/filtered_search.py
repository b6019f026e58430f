"""One query asked of an index of any kind, among all of its images or among some."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.index.search import MOST_FETCHED, ROUNDING, Found, ends_in_tie, fetch_nearest

NOBODY = -1
# faiss adds the keyword arguments of its classes as it is imported, where no type checker sees it.
kinds: Any = faiss


def filtered_search(
    index: faiss.Index,
    query: Vectors,
    k: int,
    *,
    distance: str,
    allowed: NDArray[np.bool_] | None = None,
    own: int = NOBODY,
) -> Found:
    """Return the k allowed images nearest to a query: rows int64 [n], scores float32 [n].

    n is k, or however many are allowed. Order and scores are those of `search_index`. An index that
    looks at a part of its vectors looks at all of them where that part holds too few that are
    allowed; a graph may still find fewer, as not all of it need be within reach.

    Safe to call from many threads at once: the index is only read.

    query: float32 [D], prepared. allowed: bool [G], None for all. own: the row of the image that
    asks, which is left out; NOBODY for none.
    """
    count = index.ntotal if allowed is None else int(allowed.sum())
    if own != NOBODY and (allowed is None or allowed[own]):
        count -= 1
    wanted = min(k, count)
    found = Found(np.empty(0, np.int64), np.empty(0, np.float32))
    for thorough in (False, True):
        if len(found.rows) < wanted:
            found = _ask(index, query, wanted, allowed, own, distance, thorough=thorough)
    return found


def distance_of(index: faiss.Index) -> str:
    """Return the distance that an index was built for: cosine or euclidean."""
    return "cosine" if index.metric_type == faiss.METRIC_INNER_PRODUCT else "euclidean"


def _ask(
    index: faiss.Index,
    query: Vectors,
    wanted: int,
    allowed: NDArray[np.bool_] | None,
    own: int,
    distance: str,
    *,
    thorough: bool,
) -> Found:
    """Fetch more and more until enough of them are allowed, or the index finds no more."""
    known = _vectors(index) if isinstance(index, faiss.IndexFlat) else None
    slack = 0.0 if known is None else ROUNDING
    options = _options_to_try(index, allowed, thorough=thorough)
    besides = 0 if own == NOBODY else 1
    fetch = min(wanted + 1 + besides, index.ntotal)
    while True:
        found, options = _fetch(index, known, query, own, fetch, distance, options)
        rows, scores = (each[0, found[0][0] >= 0] for each in found)
        kept = np.full(len(rows), True) if allowed is None else allowed[rows]
        # Fewer than were asked for: this index, looking as it does, has no others.
        ended = len(rows) < fetch - besides or fetch == index.ntotal
        enough = kept.sum() >= wanted and (
            fetch >= MOST_FETCHED or not _may_tie(scores[kept], scores, wanted, slack)
        )
        if ended or enough:
            return Found(rows[kept][:wanted], scores[kept][:wanted])
        fetch = min(4 * fetch, index.ntotal)


def _may_tie(kept: Vectors, fetched: Vectors, wanted: int, slack: float) -> bool:
    return bool(ends_in_tie(np.append(kept, fetched[-1])[None], wanted, slack=slack)[0])


def _vectors(index: faiss.IndexFlat) -> Vectors:
    """Return the vectors of a flat index, float32 [G, D], without a copy."""
    flat: Vectors = kinds.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def _fetch(
    index: faiss.Index,
    known: Vectors | None,
    query: Vectors,
    own: int,
    fetch: int,
    distance: str,
    options: list[Any],
) -> tuple[tuple[Ints, Scores], list[Any]]:
    """Return what `fetch_nearest` does by the first options that are accepted, and those left.

    Not all kinds of index accept all, and only asking tells: one that does not says so before it
    looks at any vector, so that nothing is searched twice.
    """
    while True:
        try:
            found = fetch_nearest(
                index,
                known,
                query[None],
                np.array([own]),
                fetch,
                distance=distance,
                options=options[0],
            )
        except RuntimeError:
            if len(options) == 1:
                raise
            options = options[1:]
        else:
            return found, options


def _options_to_try(
    index: faiss.Index, allowed: NDArray[np.bool_] | None, *, thorough: bool
) -> list[Any]:
    """Return search options, the most helpful first; the last, None, is accepted by all kinds."""
    options = []
    if allowed is not None:
        selector = kinds.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        options.append(_options(index, selector, thorough=thorough))
    if thorough:
        options.append(_options(index, None, thorough=thorough))
    return [*options, None]


def _options(index: faiss.Index, selector: Any, *, thorough: bool) -> Any:
    """Return the faiss.SearchParameters of a kind of index, those within it included."""
    index = kinds.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _options(index.index, selector, thorough=thorough)
        return kinds.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = _options(index.base_index, selector, thorough=thorough)
        return kinds.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=inner)
    if isinstance(index, faiss.IndexIDMap):
        return _options(index.index, selector, thorough=thorough)
    if isinstance(index, faiss.IndexIVF):
        probes = index.nlist if thorough else index.nprobe
        return kinds.SearchParametersIVF(sel=selector, nprobe=probes)
    if isinstance(index, faiss.IndexHNSW):
        effort = index.ntotal if thorough else index.hnsw.efSearch
        return kinds.SearchParametersHNSW(sel=selector, efSearch=effort)
    return kinds.SearchParameters(sel=selector)
