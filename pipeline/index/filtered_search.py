"""Search with one query in an index of any kind, among all of its images or among some."""

from typing import Any

import faiss
import numpy as np

from pipeline.data.arrays import Mask, Scores, Vectors
from pipeline.index.centring import strip_centring
from pipeline.index.distances import SCORE_TOLERANCE, subtract
from pipeline.index.search import MAX_FETCHED, Neighbors, fetch_nearest, may_tie_with_unfetched

# faiss adds keyword arguments to its classes at import, which type checkers do not see.
untyped_faiss: Any = faiss


def filtered_search(
    index: faiss.Index,
    query: Vectors,
    k: int,
    *,
    distance: str,
    allowed: Mask | None = None,
    own_row: int | None = None,
    needed: int | None = None,
) -> Neighbors:
    """Return the k allowed images nearest to a query: rows int64 [n], scores float32 [n].

    n is k, or the number of allowed images if that is less. Order and scores are those of
    `search_index`. An index that searches only some of its vectors searches all of them if those
    hold too few allowed images (fewer than `needed`, k by default); a graph may still find fewer,
    because it may not reach all.

    Many threads may call this at once, because the index is only read.

    query: float32 [D], prepared. allowed: bool [G], None for all. own_row: the row of the query's
    own image, which is left out; None if the query is not in the index.
    """
    index, centre = strip_centring(index)
    query = subtract(query, centre)
    count = index.ntotal if allowed is None else int(allowed.sum())
    if own_row is not None and (allowed is None or allowed[own_row]):
        count -= 1
    wanted = min(k, count)
    nearest = Neighbors(np.empty(0, np.int64), np.empty(0, np.float32))
    for exhaustive in (False, True):
        if len(nearest.rows) < min(wanted, k if needed is None else needed):
            nearest = _search(
                index, query, wanted, allowed, own_row, distance, exhaustive=exhaustive
            )
    return nearest


def _search(
    index: faiss.Index,
    query: Vectors,
    wanted: int,
    allowed: Mask | None,
    own_row: int | None,
    distance: str,
    *,
    exhaustive: bool,
) -> Neighbors:
    """Fetch more and more neighbors until enough are allowed, or the index finds no more."""
    rescored = _view_vectors(index) if isinstance(index, faiss.IndexFlat) else None
    tolerance = 0.0 if rescored is None else SCORE_TOLERANCE
    options = _list_options(index, allowed, exhaustive=exhaustive)
    own_count = 0 if own_row is None else 1
    count = min(wanted + 1 + own_count, index.ntotal)
    while True:
        found, options = _fetch(index, rescored, query, own_row, count, distance, options)
        exists = found.rows[0] >= 0
        rows, scores = found.rows[0, exists], found.scores[0, exists]
        kept = np.full(len(rows), True) if allowed is None else allowed[rows]
        # Fewer than `count`: with these options the index has no others.
        ended = len(rows) < count - own_count or count == index.ntotal
        enough = kept.sum() >= wanted and (
            count >= MAX_FETCHED or not _may_tie(scores[kept], scores, wanted, tolerance)
        )
        if ended or enough:
            return Neighbors(rows[kept][:wanted], scores[kept][:wanted])
        count = min(4 * count, index.ntotal)


def _may_tie(kept: Scores, fetched: Scores, wanted: int, tolerance: float) -> bool:
    scores = np.append(kept, fetched[-1])[None]
    return bool(may_tie_with_unfetched(scores, wanted, tolerance=tolerance)[0])


def _view_vectors(index: faiss.IndexFlat) -> Vectors:
    """Return the vectors of a flat index, float32 [G, D], without a copy."""
    flat: Vectors = untyped_faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def _fetch(
    index: faiss.Index,
    rescored: Vectors | None,
    query: Vectors,
    own_row: int | None,
    count: int,
    distance: str,
    options: list[Any],
) -> tuple[Neighbors, list[Any]]:
    """Return the result of `fetch_nearest` with the first accepted options, and those left.

    Some kinds of index do not accept all options, which only a search shows. Such an index raises
    its error before it looks at any vector, so nothing is searched twice.
    """
    own_rows = np.array([-1 if own_row is None else own_row])
    while True:
        try:
            nearest = fetch_nearest(
                index,
                rescored,
                query[None],
                own_rows,
                count,
                distance=distance,
                options=options[0],
            )
        except RuntimeError:
            if len(options) == 1:
                raise
            options = options[1:]
        else:
            return nearest, options


def _list_options(index: faiss.Index, allowed: Mask | None, *, exhaustive: bool) -> list[Any]:
    """Return search options, the most helpful first; the last, None, fits all kinds of index."""
    options = []
    if allowed is not None:
        selector = untyped_faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        options.append(_build_options(index, selector, exhaustive=exhaustive))
    if exhaustive:
        options.append(_build_options(index, None, exhaustive=exhaustive))
    return [*options, None]


def _build_options(index: faiss.Index, selector: Any, *, exhaustive: bool) -> Any:
    """Return the faiss.SearchParameters of this kind of index and of the indexes inside it."""
    index = untyped_faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _build_options(index.index, selector, exhaustive=exhaustive)
        return untyped_faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = _build_options(index.base_index, selector, exhaustive=exhaustive)
        return untyped_faiss.IndexRefineSearchParameters(
            k_factor=index.k_factor, base_index_params=inner
        )
    if isinstance(index, faiss.IndexIDMap):
        return _build_options(index.index, selector, exhaustive=exhaustive)
    if isinstance(index, faiss.IndexIVF):
        probes = index.nlist if exhaustive else index.nprobe
        return untyped_faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    if isinstance(index, faiss.IndexHNSW):
        effort = index.ntotal if exhaustive else index.hnsw.efSearch
        return untyped_faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
    return untyped_faiss.SearchParameters(sel=selector)
