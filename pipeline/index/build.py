"""The faiss index of a catalog: build, write, read and check it.

Where else another search engine would be named is in docs/extending.md.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa

from pipeline.data.arrays import Vectors
from pipeline.data.digests import digest_file
from pipeline.data.files import written_whole
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.lineage import Lineage, check_lineage, from_metadata, to_metadata
from pipeline.data.tables import IDS, read_metadata, read_table, write_table
from pipeline.errors import UserError, one_line
from pipeline.index.centring import add_centring, strip_centring
from pipeline.index.distances import (
    check_vectors,
    find_centre,
    prepare_checked,
    prepare_vectors,
    subtract,
)
from pipeline.index.kinds import choose_factory, sample_rows
from pipeline.index.parts import PART, Parts, add_parts
from pipeline.index.postprocessing import (
    FILE,
    NOTHING,
    Postprocessing,
    read_postprocessing,
    write_postprocessing,
)
from pipeline.workers import HERE, Workers

INDEX_FILE, IDS_FILE = "index.faiss", "ids.parquet"
# In the metadata of ids.parquet: of index.faiss and of the post-processing's file, SHA-256.
DIGEST, POSTPROCESSING = "lookalike.index", "lookalike.postprocessing"
FAISS_METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}
# The links of these graphs depend on the order in which threads finish, so one thread builds them.
# Those of HNSW do not, since faiss 1.15.
BUILT_BY_ONE_THREAD = re.compile("NSG|NNDescent")
GRAPHS = re.compile("HNSW|NSG|NNDescent")


def build_index(
    vectors: Vectors, *, factory: str, distance: str, seed: int, workers: Workers = HERE
) -> faiss.Index:
    """Return a faiss index of float32 [N, D], trained on a sample if its kind needs training.

    It is one that moves all vectors by a centre, where `find_centre` gives one. The same vectors,
    options and seed give the same bytes, by any number of workers.

    factory: as `choose_factory`. workers: they code vectors, in kinds that do.

    Raises:
        UserError: faiss does not know the factory string, or there are too few images for it.
    """
    check_vectors(vectors, distance=distance)
    centre = None
    if distance == "euclidean":
        centre = find_centre(prepare_checked(vectors, distance=distance), distance=distance)
    factory = choose_factory(factory, images=len(vectors), dimension=vectors.shape[1])
    try:
        index = faiss.index_factory(vectors.shape[1], factory, FAISS_METRICS[distance])
    except RuntimeError as error:
        raise _bad_factory(
            factory,
            error,
            "auto, or a faiss factory string for vectors of length "
            f"{vectors.shape[1]}, such as Flat, HNSW32 or IVF64,Flat",
        ) from None
    _set_seed(index, seed)
    # A graph is another where it is built in steps.
    is_graph = bool(GRAPHS.search(factory))
    parts = Parts(vectors, distance, centre, size=len(vectors) if is_graph else PART)
    with _limit_threads(1 if BUILT_BY_ONE_THREAD.search(factory) else None):
        try:
            if not index.is_trained:
                index.train(parts.take(sample_rows(index, len(vectors), seed=seed)))
            shared = not is_graph and not isinstance(index, faiss.IndexFlat)
            add_parts(index, parts, workers if shared else HERE)
        except RuntimeError as error:
            allowed = f"a factory that {len(vectors)} images suffice for, such as Flat"
            raise _bad_factory(factory, error, allowed) from None
    return add_centring(index, centre)


def build_beside(index: faiss.Index, vectors: Vectors, *, distance: str) -> faiss.Index:
    """Return an index of other vectors, float32 [N, D], that is searched beside `index`.

    It is of the same kind, with what that was trained to, so that a score of one is as near to the
    exact one as that of the other. It is flat where there are no vectors, and where the kind takes
    none later: such a graph scores exactly too.
    """
    if len(vectors):
        inner, centre = strip_centring(index)
        beside = faiss.clone_index(inner)
        try:
            beside.reset()
            beside.add(subtract(prepare_vectors(vectors, distance=distance), centre))
        except RuntimeError:
            pass
        else:
            return add_centring(beside, centre)
    return build_index(vectors, factory="Flat", distance=distance, seed=0)


def write_index(
    directory: Path,
    index: faiss.Index,
    ids: Sequence[str],
    lineage: Lineage | None = None,
    postprocessing: Postprocessing = NOTHING,
) -> None:
    """Write `index.faiss` and `ids.parquet` (row -> image_id) into `directory`, both or neither.

    lineage: of the vectors; it is kept in the metadata of ids.parquet, with digests of the others.
    postprocessing: what was done to the vectors, in a file of its own, if anything was.
    """
    table = pa.table({"image_id": pa.array(ids, pa.string())})
    names = [INDEX_FILE, IDS_FILE] + [FILE] * (not postprocessing.is_nothing)
    with written_whole(*(directory / name for name in names)) as (unfinished, of_ids, *of_done):
        faiss.write_index(index, str(unfinished))
        metadata = to_metadata(lineage) | {DIGEST: digest_file(unfinished)}
        for path in of_done:
            write_postprocessing(path, postprocessing)
            metadata[POSTPROCESSING] = digest_file(path)
        write_table(table, of_ids, IDS, metadata=metadata)


def read_index(directory: Path) -> tuple[faiss.Index, list[str]]:
    """Return (index, image_id of each row) of `directory`.

    Raises:
        UserError: a file is missing or not as it was written, or the two are not of one index.
    """
    ids = read_table(directory / IDS_FILE, IDS)["image_id"].to_pylist()
    path = directory / INDEX_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro index")
    # Of a changed vector faiss would tell nothing, of a changed list only when it is searched.
    if read_metadata(directory / IDS_FILE).get(DIGEST) != digest_file(path):
        raise UserError(
            f"{path}: its digest is not the one in {IDS_FILE}: it is damaged, or of another index; "
            "run: dvc checkout, or if that does not help: dvc repro index"
        )
    # Vectors stay in the file, which several processes share in memory.
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if index.ntotal != len(ids):
        raise UserError(
            f"{path}: found {index.ntotal} vectors; allowed: {len(ids)}, one for each row of "
            f"{IDS_FILE}; run: dvc repro index"
        )
    return index, ids


def read_index_lineage(directory: Path) -> Lineage | None:
    """Return the lineage of the vectors of the index in `directory`, which can be read."""
    return from_metadata(read_metadata(directory / IDS_FILE))


def read_postprocessing_digest(directory: Path) -> str | None:
    """Return what changes with the post-processing of the index in `directory`; None for none."""
    return read_metadata(directory / IDS_FILE).get(POSTPROCESSING)


def read_index_postprocessing(directory: Path) -> Postprocessing:
    """Return what was done to the vectors of the index in `directory`, which can be read.

    Raises:
        UserError: its file is missing or not as it was written.
    """
    digest = read_postprocessing_digest(directory)
    if digest is None:
        return NOTHING
    path = directory / FILE
    if path.is_file() and digest_file(path) == digest:
        return read_postprocessing(path)
    raise UserError(
        f"{path}: its digest is not the one in {IDS_FILE}: it is damaged, missing, or of another "
        "index; run: dvc checkout, or if that does not help: dvc repro index"
    )


def distance_of(index: faiss.Index) -> str:
    """Return the distance that an index was built for: cosine or euclidean."""
    return "cosine" if index.metric_type == FAISS_METRICS["cosine"] else "euclidean"


def check_index(
    directory: Path, index: faiss.Index, ids: Sequence[str], images: EmbeddedSplit, *, distance: str
) -> None:
    """Raise a UserError unless the index of `directory` is of all `images`.

    It has the same images in the same order, the same distance, and vectors that the same model
    made with the same options.

    index, ids: as `read_index` returns them. images: with vectors as the index has them.
    """
    if list(ids) != list(images.ids):
        raise UserError(
            f"{directory / IDS_FILE}: found {len(ids)} image_ids that are not those of the "
            f"splits; allowed: its {len(images.ids)}, in the order of ties; run: dvc repro index"
        )
    if index.d != images.vectors.shape[1]:
        raise UserError(
            f"{directory / INDEX_FILE}: found vectors of length {index.d}; the embeddings have "
            f"{images.vectors.shape[1]}; run: dvc repro index"
        )
    if distance_of(index) != distance:
        raise UserError(
            f"{directory / INDEX_FILE}: found an index for distance {distance_of(index)}; "
            f"index.distance is {distance}; run: dvc repro index"
        )
    made = read_index_lineage(directory)
    if images.lineage is None and made is None:
        return  # vectors that no stage of this project made
    if images.lineage is None:
        raise UserError(
            f"{images.path}: does not name the model that made it; {directory} does; "
            "run: dvc repro embed"
        )
    check_lineage(
        made,
        model=images.lineage.model,
        same_as=images.lineage,
        source=images.path,
        path=directory,
        stage="index",
    )


def _set_seed(index: faiss.Index, seed: int) -> None:
    inner: Any
    for inner in (faiss.downcast_index(index), faiss.try_extract_index_ivf(index)):
        for quantizer in (inner, getattr(inner, "pq", None)):
            clustering = getattr(quantizer, "cp", None)
            if clustering is not None:
                clustering.seed = seed


@contextmanager
def _limit_threads(count: int | None) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _bad_factory(factory: str, error: RuntimeError, allowed: str) -> UserError:
    # faiss puts its own file and line before the reason, on one or more lines.
    reason = one_line(error)
    reason = re.sub(r"^Error in .*? at \S+: ", "", reason)
    reason = re.sub(r"^Error: '.*?' failed: ", "", reason)
    return UserError(f"index.factory: found '{factory}' ({reason}); allowed: {allowed}")
