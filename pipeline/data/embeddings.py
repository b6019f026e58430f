"""Embeddings on disk: one Parquet row for each image, read and written as one float32 matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Vectors
from pipeline.data.lineage import Lineage, from_metadata, to_metadata
from pipeline.data.tables import EMBEDDINGS, read_metadata, read_table, write_table
from pipeline.errors import UserError


def write_embeddings(
    path: Path,
    ids: Sequence[str],
    vectors: Vectors,
    lineage: Lineage | None = None,
) -> None:
    """Write float32 [N, D] with their N image_ids to `path`, whole or not at all.

    lineage: how the vectors were made; it is kept in the file's metadata.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    write_table(pa.table(columns), path, EMBEDDINGS, metadata=to_metadata(lineage))


def read_embeddings(path: Path) -> tuple[list[str], Vectors]:
    """Return (ids, float32 [N, D]) of the table at `path`."""
    table = read_table(path, EMBEDDINGS)
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), column.type.list_size)
    return table["image_id"].to_pylist(), vectors


def require_embeddings(path: Path) -> tuple[list[str], Vectors]:
    """Return what `read_embeddings` does, of one image or more.

    Raises:
        UserError: the table is empty.
    """
    ids, vectors = read_embeddings(path)
    if not ids:
        raise UserError(
            f"{path}: holds no vectors, because no images were packed, only their labels; "
            "allowed here: vectors; set data.<name>.images: true"
        )
    return ids, vectors


def read_lineage(path: Path) -> Lineage | None:
    """Return how the vectors in `path` were made, None if the file does not say."""
    return from_metadata(read_metadata(path))
