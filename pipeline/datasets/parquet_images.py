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
        UserError: the file is damaged, has no column of encoded images, or a row has no image_id
            or that of another.
    """
    with told_as_damaged(path, COPY):
        content = pq.ParquetFile(path)
    column, names = _find_images(content.schema_arrow, path), iter(_name_rows(content, path))
    for group in range(content.num_row_groups):
        for place in range(content.metadata.row_group(group).num_rows):
            yield SourceImage(
                path=f"{name}/{next(names)}",
                labels=(),
                read=partial(read_cell, path, column, group, place),
            )


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
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _name_rows(content: pq.ParquetFile, path: Path) -> list[str]:
    """Return a name for each row, in which no two are the same."""
    if IMAGE_ID not in content.schema_arrow.names:
        return [f"{row:07d}" for row in range(content.metadata.num_rows)]
    with told_as_damaged(path, COPY):
        names = content.read(columns=[IMAGE_ID]).column(0).to_pylist()
    first: dict[str, int] = {}
    for row, name in enumerate(names, start=1):
        if name in (None, ""):
            raise UserError(
                f"{path}: row {row}, column {IMAGE_ID}: found nothing; allowed: a name for each "
                "image; name it, or drop the column"
            )
        if first.setdefault(str(name), row) != row:
            raise UserError(
                f"{path}: row {row}, column {IMAGE_ID}: found '{name}', as in row "
                f"{first[str(name)]}; allowed: a name of its own for each image; rename one, or "
                "drop the column"
            )
    return list(first)


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
