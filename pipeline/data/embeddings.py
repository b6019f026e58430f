"""Embeddings on disk: a folder of buckets, a Parquet row for each image, read as one matrix."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Vectors
from pipeline.data.buckets import (
    MANIFEST,
    Bucket,
    Manifest,
    find_buckets,
    read_manifest,
    write_manifest,
)
from pipeline.data.files import link_or_copy, unfinished_in, written_whole
from pipeline.data.lineage import Lineage, from_metadata, to_metadata
from pipeline.data.tables import EMBEDDINGS, REMEDY, read_metadata, read_table, write_table
from pipeline.data.tie_order import digest_ids
from pipeline.errors import UserError

SUFFIX = ".parquet"


def write_embeddings(
    folder: Path,
    ids: Sequence[str],
    vectors: Vectors,
    lineage: Lineage | None = None,
    *,
    buckets: int = 1,
) -> None:
    """Write float32 [N, D] with their N image_ids to `folder`, whole or not at all.

    They are in the order given, but for that of the buckets. lineage: as of `join_buckets`.
    """
    numbers = find_buckets(digest_ids(ids), buckets)
    with unfinished_in(folder.parent) as beside:
        paths = []
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            paths.append((number, beside / f"{number}{SUFFIX}"))
            write_bucket(paths[-1][1], [ids[row] for row in rows.tolist()], vectors[rows])
        join_buckets(paths, folder, count=buckets, lineage=lineage)


def write_bucket(path: Path, ids: Sequence[str], vectors: Vectors) -> None:
    """Write float32 [N, D] with their N image_ids, those of one bucket, to the file `path`."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    write_table(pa.table(columns), path, EMBEDDINGS)


def read_bucket(path: Path) -> tuple[list[str], Vectors]:
    """Return (ids, float32 [N, D]) of the file of one bucket."""
    table = read_table(path, EMBEDDINGS)
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), column.type.list_size)
    return table["image_id"].to_pylist(), vectors


def join_buckets(
    paths: Sequence[tuple[int, Path]], folder: Path, *, count: int, lineage: Lineage | None
) -> None:
    """Make `folder` of the files of buckets, whole or not at all.

    paths: the number and the file of each of the `count` buckets that has images. lineage: how the
    vectors were made; it is kept in the manifest's metadata.
    """
    with written_whole(folder) as (unfinished,):
        unfinished.mkdir(parents=True)
        buckets = []
        for number, path in paths:
            ids, vectors = read_bucket(path)
            bucket = Bucket(number, len(ids), _digest(ids, vectors))
            link_or_copy(path, bucket.path_in(unfinished, SUFFIX))
            buckets.append(bucket)
        write_manifest(unfinished, Manifest(count, tuple(buckets)), metadata=to_metadata(lineage))


def read_embeddings(folder: Path) -> tuple[list[str], Vectors]:
    """Return (ids, float32 [N, D]) of all buckets in `folder`; D is 0 if there are none.

    Raises:
        UserError: one is missing, damaged or not of the manifest.
    """
    ids: list[str] = []
    vectors = np.empty((0, 0), np.float32)
    for its_ids, its_vectors in iterate_buckets(folder):
        if not ids:  # the first says how long vectors are; filled in, they need no second copy
            rows = read_manifest(folder, stage="embed").rows
            vectors = np.empty((rows, its_vectors.shape[1]), np.float32)
        vectors[len(ids) : len(ids) + len(its_ids)] = its_vectors
        ids += its_ids
    return ids, vectors


def iterate_buckets(folder: Path) -> Iterator[tuple[list[str], Vectors]]:
    """Yield (ids, float32 [n, D]) of each bucket in `folder`.

    Raises:
        UserError: as `read_embeddings`.
    """
    dimension = None
    for bucket in read_manifest(folder, stage="embed").buckets:
        path = bucket.path_in(folder, SUFFIX)
        ids, vectors = read_bucket(path)
        dimension = dimension or vectors.shape[1]
        found = (len(ids), vectors.shape[1], _digest(ids, vectors))
        if found != (bucket.rows, dimension, bucket.digest):
            raise UserError(f"{path}: damaged (not the bucket of the manifest); {REMEDY}")
        yield ids, vectors


def _digest(ids: Sequence[str], vectors: Vectors) -> str:
    digest = sha256("\0".join(ids).encode())
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()[:16]


def require_embeddings(folder: Path) -> tuple[list[str], Vectors]:
    """Return what `read_embeddings` does, of one image or more.

    Raises:
        UserError: there are none.
    """
    ids, vectors = read_embeddings(folder)
    if not ids:
        raise UserError(
            f"{folder}: holds no vectors, because no images were packed, only their labels; "
            "allowed here: vectors; set data.<name>.images: true"
        )
    return ids, vectors


def read_lineage(folder: Path) -> Lineage | None:
    """Return how the vectors in `folder` were made, None if it does not say."""
    return from_metadata(read_metadata(folder / MANIFEST))
