"""The faiss index of a gallery: built, kept on disk, and asked for the nearest images."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.data.files import written_whole
from pipeline.data.lineage import Lineage, from_metadata, to_metadata
from pipeline.data.tables import IDS, read_metadata, read_table, write_table
from pipeline.errors import UserError
from pipeline.index.distances import pair_scores, prepare_vectors

METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}
# Graphs are linked in the order in which threads finish, so one thread builds them.
BUILT_BY_ONE_THREAD = re.compile("HNSW|NSG|NNDescent")
# Queries whose last answers tie are asked for more at once, up to so many.
MOST_FETCHED = 4096
QUERIES_AT_ONCE = 4096
# By how much, of a score of up to 1 or else relative, two sums of one score may differ.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Found:
    """What a search found: rows int64 [Q, n], scores float32 [Q, n]; -1 and -inf for none."""

    rows: Ints
    scores: Scores


def build_index(vectors: Vectors, *, factory: str, distance: str, seed: int) -> faiss.Index:
    """Return a faiss index of float32 [G, D], trained where it needs to be.

    The same vectors, options and seed give the same bytes.

    Raises:
        UserError: faiss does not know the factory string, or the gallery is too small for it.
    """
    vectors = prepare_vectors(vectors, distance=distance)
    try:
        index = faiss.index_factory(vectors.shape[1], factory, METRICS[distance])
    except RuntimeError as error:
        raise _bad_factory(
            factory,
            error,
            "a faiss factory string for vectors of length "
            f"{vectors.shape[1]}, such as Flat, HNSW32 or IVF64,Flat",
        ) from None
    _seed(index, seed)
    with _threads(1 if BUILT_BY_ONE_THREAD.search(factory) else None):
        try:
            index.train(vectors)
            index.add(vectors)
        except RuntimeError as error:
            allowed = f"a factory that {len(vectors)} gallery images suffice for, such as Flat"
            raise _bad_factory(factory, error, allowed) from None
    return index


def write_index(
    directory: Path,
    index: faiss.Index,
    ids: Sequence[str],
    provenance: Lineage | None = None,
) -> None:
    """Write `index.faiss` and `ids.parquet` (row -> image_id) into `directory`, both or neither.

    provenance: how the vectors were made, which ids.parquet then tells.
    """
    table = pa.table({"image_id": pa.array(ids, pa.string())})
    files = (directory / "index.faiss", directory / "ids.parquet")
    with written_whole(*files) as (unfinished, unfinished_ids):
        faiss.write_index(index, str(unfinished))
        write_table(table, unfinished_ids, IDS, metadata=to_metadata(provenance))


def read_index(directory: Path) -> tuple[faiss.Index, list[str]]:
    """Return (index, image_id of each row) of `directory`.

    Raises:
        UserError: a file is missing or is not an index, or the two are of different length.
    """
    ids = read_table(directory / "ids.parquet", IDS)["image_id"].to_pylist()
    path = directory / "index.faiss"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro index")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError:
        raise UserError(f"{path}: not a faiss index; run: dvc repro index") from None
    if index.ntotal != len(ids):
        raise UserError(
            f"{path}: found {index.ntotal} vectors; allowed: {len(ids)}, one for each row of "
            "ids.parquet; run: dvc repro index"
        )
    return index, ids


def read_index_lineage(directory: Path) -> Lineage | None:
    """Return how the vectors of the index in `directory`, which can be read, were made."""
    return from_metadata(read_metadata(directory / "ids.parquet"))


def check_gallery(
    index: faiss.Index,
    ids: Sequence[str],
    gallery: Vectors,
    gallery_ids: Sequence[str] | NDArray[np.object_],
    *,
    where: Path,
) -> None:
    """Raise a UserError unless `index` is of just this gallery, float32 [G, D], in this order."""
    if list(ids) != list(gallery_ids):
        raise UserError(
            f"{where / 'ids.parquet'}: found {len(ids)} image_ids that are not the gallery of the "
            f"splits; allowed: its {len(gallery_ids)}, in its order; run: dvc repro index"
        )
    if index.d != gallery.shape[1]:
        raise UserError(
            f"{where / 'index.faiss'}: found vectors of length {index.d}; the embeddings have "
            f"{gallery.shape[1]}; run: dvc repro index"
        )


def search_index(
    index: faiss.Index, gallery: Vectors, queries: Vectors, own: Ints, k: int, *, distance: str
) -> Found:
    """Return the k gallery images that the index finds nearest to each query.

    Highest score first, ties by gallery order; -1 and -inf where the index finds fewer. The
    query's own image, own[q], is left out by its row, wherever it stands.

    The scores are the index's own, which an index that compresses gets wrong by a little. Those of
    a flat index are summed again by `pair_scores`, because faiss sums identical images in
    different orders and so breaks ties between them. What faiss may have put just beyond the last
    by such a sum is fetched too.

    gallery: float32 [G, D], queries: float32 [Q, D], both prepared. own: int64 [Q], -1 for none.
    """
    rows, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    flat = isinstance(index, faiss.IndexFlat)
    known, slack = (gallery, ROUNDING) if flat else (None, 0.0)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        waiting = np.arange(start, min(start + QUERIES_AT_ONCE, len(queries)))
        fetch = min(k + 1, len(gallery))
        while len(waiting):
            found = fetch_nearest(
                index, known, queries[waiting], own[waiting], fetch, distance=distance
            )
            rows[waiting, :fetch], scores[waiting, :fetch] = (each[:, :k] for each in found)
            if fetch >= min(MOST_FETCHED, len(gallery)):
                break
            waiting = waiting[ends_in_tie(found[1], k, slack=slack)]
            fetch = min(4 * fetch, len(gallery))
    return Found(rows, scores)


def index_recall(
    found: Ints, exact: Ints, k: int, *, gallery: Vectors, queries: Vectors, distance: str
) -> NDArray[np.float64]:
    """Return float64 [Q]: the share of the exact top k that the index's top k holds.

    An answer that ties with the k-th of the exact ranking is right.

    found, exact: int64 [Q, >= k], gallery rows, nearest first.
    """
    scores = pair_scores(queries, gallery, found[:, :k], distance=distance)
    # Of all k: the exact order is of other sums, so near ties are not in the order of these.
    least = pair_scores(queries, gallery, exact[:, :k], distance=distance).min(1, keepdims=True)
    shares: NDArray[np.float64] = (scores >= least).mean(axis=1)
    return shares


def fetch_nearest(
    index: faiss.Index,
    gallery: Vectors | None,
    queries: Vectors,
    own: Ints,
    fetch: int,
    *,
    distance: str,
    options: Any = None,
) -> tuple[Ints, Scores]:
    """Return (rows, scores) [Q, fetch], sorted, the own image moved to the end as -1.

    gallery: float32 [G, D], by which the scores are summed again; None takes the index's own.
    options: faiss.SearchParameters that fit the index.
    """
    scores, rows = index.search(queries, fetch, params=options)
    if gallery is not None:
        scores = pair_scores(queries, gallery, rows, distance=distance)
    elif distance == "euclidean":
        scores = -np.sqrt(np.maximum(scores, 0))  # faiss gives the squared distance
    rows[rows == own[:, None]] = -1
    scores[rows < 0] = -np.inf
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def ends_in_tie(scores: Scores, k: int, *, slack: float) -> NDArray[np.bool_]:
    """Return bool [Q]: whether an image that was not fetched may tie with the k-th answer.

    slack: by how much the two may differ, of a score of up to 1 or else relative.
    """
    there = np.isfinite(scores)
    last = np.where(there, scores, np.inf).min(axis=1)
    kth, known = scores[:, k - 1], there[:, k - 1]
    margin = slack * np.maximum(1, np.abs(np.where(known, kth, 0)))
    tied: NDArray[np.bool_] = known & (kth - last <= margin)
    return tied


def _seed(index: faiss.Index, seed: int) -> None:
    part: Any
    for part in (faiss.downcast_index(index), faiss.try_extract_index_ivf(index)):
        for holder in (part, getattr(part, "pq", None)):
            clustering = getattr(holder, "cp", None)
            if clustering is not None:
                clustering.seed = seed


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _bad_factory(factory: str, error: RuntimeError, allowed: str) -> UserError:
    # faiss puts its own file and line before the reason, on one or more lines.
    reason = " ".join(str(error).split())
    reason = re.sub(r"^Error in .*? at \S+: ", "", reason)
    reason = re.sub(r"^Error: '.*?' failed: ", "", reason)
    return UserError(f"index.factory: found '{factory}' ({reason}); allowed: {allowed}")
