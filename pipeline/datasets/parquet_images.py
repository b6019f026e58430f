"""Encoded images in a column of Parquet files, as the Hugging Face Hub and many data lakes keep."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.tables import told_as_damaged
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

COPY = "get a whole copy"  # of a damaged file
IMAGE, IMAGE_ID = "image", "image_id"  # columns


def read_unlabelled(path: Path, *, name: str) -> Iterator[SourceImage]:
    """Yield the images of a Parquet file, without labels, named `name`/… by the column image_id.

    Without that column they are named by the number of their row, from 0.

    Raises:
        UserError: the file is damaged, has no column of encoded images, or a row has no image_id.
    """
    with told_as_damaged(path, COPY):
        content = pq.ParquetFile(path)
    column, has_ids = (
        _find_images(content.schema_arrow, path),
        IMAGE_ID in content.schema_arrow.names,
    )
    row = 0
    for group in range(content.num_row_groups):
        rows = content.metadata.row_group(group).num_rows
        numbers = [f"{each:07d}" for each in range(row, row + rows)]
        for place, image_id in enumerate(_read_ids(path, group) if has_ids else numbers):
            yield SourceImage(
                path=f"{name}/{image_id}",
                labels=(),
                read=partial(read_cell, path, column, group, place),
            )
        row += rows


def _find_images(schema: pa.Schema, path: Path) -> str:
    """Return the column of images: `image`, or the only one of bytes."""
    of_bytes = [field.name for field in schema if _holds_bytes(field.type)]
    if IMAGE in of_bytes:
        return IMAGE
    if len(of_bytes) == 1:
        return str(of_bytes[0])
    raise UserError(
        f"{path}: found the columns {', '.join(schema.names)}, of bytes: "
        f"{', '.join(of_bytes) or 'none'}; allowed: a column {IMAGE}, or one of bytes, that holds "
        "encoded images; rename it"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_ids(path: Path, group: int) -> list[str]:
    with told_as_damaged(path, COPY):
        ids = pq.ParquetFile(path).read_row_group(group, columns=[IMAGE_ID]).column(0).to_pylist()
    for place, image_id in enumerate(ids):
        if image_id in (None, ""):
            raise UserError(
                f"{path}: row {place + 1} of row group {group + 1}, column {IMAGE_ID}: found "
                "nothing; allowed: a name for each image; name it, or drop the column"
            )
    return [str(image_id) for image_id in ids]


def read_cell(path: Path, column: str, group: int, place: int) -> bytes:
    """Return the encoded image at row `place` of a row group.

    Raises:
        OSError: there is none.
    """
    cell = _read_column(path, column, group)[place].as_py()
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise OSError(f"column {column} holds no bytes of an image")
    return content


@lru_cache(maxsize=2)  # rows are read one after the other, but a row group only as a whole
def _read_column(path: Path, column: str, group: int) -> pa.ChunkedArray:
    with told_as_damaged(path, COPY):
        return pq.ParquetFile(path).read_row_group(group, columns=[column]).column(0)
