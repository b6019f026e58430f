"""Encoded images in a column of Parquet files, as the Hugging Face Hub and many data lakes keep."""

import logging
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from pipeline.data.tables import told_as_damaged
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

COPY = "get a whole copy"  # of a damaged file
IMAGE, IMAGE_ID = "image", "image_id"  # columns
PARQUET = ".parquet"
# A row group is read as a whole, by each process that reads some of its rows.
MOST_BYTES = 2**30

logger = logging.getLogger(__name__)


def is_parquet(path: Path) -> bool:
    """Return whether this is a file that is called a Parquet file."""
    return path.suffix.lower() == PARQUET and path.is_file()


def read_unlabelled(path: Path, *, name: str) -> Iterator[SourceImage]:
    """Yield the images of a Parquet file, without labels, named `name`/… by the column image_id.

    Without that column they are named by the number of their row, from 0. A file without a column
    of bytes has no images, which is logged.

    Raises:
        UserError: the file is damaged, has several columns that may be the images, or too large
            groups of rows; or a row has no image_id, or that of another.
    """
    with told_as_damaged(path, COPY):
        content = pq.ParquetFile(path)
    if (column := _find_images(content.schema_arrow, path)) is None:
        logger.warning("left out %s: it has no column of encoded images", path)
        return
    check_groups(content, column, path)
    names = iter(_name_rows(content, path))
    for group in range(content.num_row_groups):
        for place in range(content.metadata.row_group(group).num_rows):
            yield SourceImage(
                path=f"{name}/{next(names)}",
                labels=(),
                read=partial(read_cell, path, column, group, place),
            )


def check_groups(content: pq.ParquetFile, column: str, path: Path) -> None:
    """Raise UserError unless each group of rows has at most MOST_BYTES of images."""
    for group in range(content.num_row_groups):
        rows = content.metadata.row_group(group)
        parts = map(rows.column, range(rows.num_columns))
        size = sum(
            part.total_uncompressed_size
            for part in parts
            if part.path_in_schema.split(".")[0] == column
        )
        if size > MOST_BYTES:
            raise UserError(
                f"{path}: row group {group + 1}: found {size / 2**20:,.0f} MiB of images; allowed: "
                f"{MOST_BYTES // 2**20:,} MiB; write it with fewer rows in each group, such as "
                "row_group_size=1000"
            )


def _find_images(schema: pa.Schema, path: Path) -> str | None:
    """Return the column of images: `image`, or the only one of bytes; None if there is none."""
    of_bytes = [each.name for each in schema if each.name != IMAGE_ID and _holds_bytes(each.type)]
    if IMAGE in of_bytes or len(of_bytes) < 2:
        return IMAGE if IMAGE in of_bytes else next(iter(of_bytes), None)
    raise UserError(
        f"{path}: found several columns of bytes: {', '.join(of_bytes)}; allowed: one, or one "
        f"named {IMAGE}; rename that of encoded images"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _name_rows(content: pq.ParquetFile, path: Path) -> list[str]:
    """Return a name for each row, in which no two are the same."""
    if IMAGE_ID not in content.schema_arrow.names:
        return [f"{row:07d}" for row in range(content.metadata.num_rows)]
    _check_kind(content.schema_arrow.field(IMAGE_ID).type, path)
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


def _check_kind(kind: pa.DataType, path: Path) -> None:
    values = kind.value_type if types.is_dictionary(kind) else kind
    is_text = types.is_string(values) or types.is_large_string(values)
    if not (is_text or types.is_integer(values)):
        raise UserError(
            f"{path}: column {IMAGE_ID}: found {kind}; allowed: texts or whole numbers; write it "
            "as one of these, or drop the column"
        )


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


@lru_cache(maxsize=1)  # rows are read one after the other, but a row group only as a whole
def _read_column(path: Path, column: str, group: int) -> pa.ChunkedArray:
    with told_as_damaged(path, COPY):
        return pq.ParquetFile(path).read_row_group(group, columns=[column]).column(0)
