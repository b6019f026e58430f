"""Embeddings on disk: one Parquet row an image, read and written as one float32 matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.lineage import Lineage, from_metadata, to_metadata
from pipeline.data.tables import EMBEDDINGS, read_metadata, read_table, write_table


def write_embeddings(
    path: Path,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    provenance: Lineage | None = None,
) -> None:
    """Write float32 [N, D] with their N image_ids to `path`, whole or not at all.

    provenance: how they were made, which the file then tells.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    write_table(pa.table(columns), path, EMBEDDINGS, metadata=to_metadata(provenance))


def read_embeddings(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return (ids, float32 [N, D]) of the table at `path`."""
    table = read_table(path, EMBEDDINGS)
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), column.type.list_size)
    return table["image_id"].to_pylist(), vectors


def read_lineage(path: Path) -> Lineage | None:
    """Return how the vectors of the table at `path`, which can be read, were made, if it tells."""
    return from_metadata(read_metadata(path))
