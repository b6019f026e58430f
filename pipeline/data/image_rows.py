"""Files of packed images: Arrow IPC, memory-mapped; each row an image and what is known of it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self
from uuid import uuid4
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.data.tie_order import digest_ids
from pipeline.errors import UserError, one_line

# id_digest: as `digest_ids`. checksum: CRC-32 of image_id and image, as of a changed byte a decoder
# often makes other pixels. digest: SHA-256 of the image. The rest: ImageFacts.
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), False),
        pa.field("id_digest", pa.uint64(), False),
        pa.field("image", pa.binary(), False),
        pa.field("checksum", pa.uint32(), False),
        pa.field("digest", pa.binary(32), False),
        pa.field("width", pa.int32(), False),
        pa.field("height", pa.int32(), False),
        pa.field("pixels", pa.string(), False),
        pa.field("perceptual_hash", pa.uint64(), False),
        pa.field("colors", pa.binary(), False),
        pa.field("color_range", pa.int32(), False),
        pa.field("sharpness", pa.float64(), False),
    ]
)
SUFFIX = ".arrow"
REMEDY = "get it back: dvc checkout, or make it again: dvc repro -f download"
# Small batches stay below Arrow's 32-bit offsets, and bound the memory of whoever writes them.
BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What HEALTH in `pipeline/data/tables.py` holds of one image, but for its duplicates.

    colors: the bytes of those of `hash_image`.
    """

    pixels: str
    perceptual_hash: int
    colors: bytes
    color_range: int
    sharpness: float


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image to be stored, and what is known of it. width, height: upright."""

    image_id: str
    encoded: bytes
    width: int
    height: int
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Where an image is: in row `row` of the file of rows at `path`. size: in bytes.

    It holds nothing else, because packing keeps one for each image.
    """

    path: Path
    row: int
    size: int


@dataclass(frozen=True)
class ImageColumns:
    """What is known of N stored images: the columns of SCHEMA, each an array.

    digest: uint8 [N, 32]. width, height, color_range: int32 [N]. pixels: string [N].
    perceptual_hash: uint64 [N]. colors: uint8 [N, C]. sharpness: float64 [N].
    """

    digest: NDArray[np.uint8]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    pixels: pa.Array
    perceptual_hash: NDArray[np.uint64]
    colors: NDArray[np.uint8]
    color_range: NDArray[np.int32]
    sharpness: NDArray[np.float64]


class RowWriter:
    """Writes rows to the file at `path`, in the order in which they are added, whole or not at all.

    For a `with` statement, after which the file can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Another process may write the same file, where it was thought lost.
        self._unfinished = path.with_name(f"{path.name}-{uuid4().hex}")
        self._out = pa.ipc.new_file(os.fspath(self._unfinished), SCHEMA)
        self._rows: list[ImageRow] = []
        self._bytes = self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            self._out.close()
            os.replace(self._unfinished, self.path)

    def add(self, row: ImageRow) -> StoredImage:
        """Append one image and return where it is stored."""
        self._rows.append(row)
        self._bytes += len(row.encoded)
        self._count += 1
        if self._bytes >= BATCH_BYTES:
            self._flush()
        return StoredImage(
            path=self.path,
            row=self._count - 1,
            size=len(row.encoded),
        )

    def _flush(self) -> None:
        if self._rows:
            self._out.write_batch(_to_batch(self._rows))
        self._rows, self._bytes = [], 0


class RowFiles:
    """Files of rows, each opened once."""

    def __init__(self) -> None:
        self._batches: dict[Path, tuple[list[pa.RecordBatch], Ints]] = {}

    def count(self, path: Path) -> int:
        """Return how many rows a file has."""
        return int(self._open(path)[1][-1])

    def copy(self, images: Sequence[StoredImage], to: Path) -> None:
        """Write the rows of images, whatever files they are in, to the file `to`, in this order."""
        with pa.ipc.new_file(os.fspath(to), SCHEMA) as out:
            for some in _by_bytes(images):
                out.write_batch(_join([self._row(image) for image in some]))

    def _row(self, image: StoredImage) -> pa.RecordBatch:
        batches, starts = self._open(image.path)
        number = int(np.searchsorted(starts, image.row, side="right")) - 1
        return batches[number].slice(image.row - int(starts[number]), 1)

    def _open(self, path: Path) -> tuple[list[pa.RecordBatch], Ints]:
        """Return the batches of a file, and the first row of each and of one after the last."""
        if path not in self._batches:
            batches = read_rows(path)
            starts = np.cumsum([0, *(batch.num_rows for batch in batches)], dtype=np.int64)
            self._batches[path] = batches, starts
        return self._batches[path]


def read_rows(path: Path) -> list[pa.RecordBatch]:
    """Return the batches of a file of rows, memory-mapped.

    Raises:
        UserError: it is damaged, or has other columns.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(os.fspath(path)))
        if not reader.schema.equals(SCHEMA):
            raise UserError(
                f"{path}: found columns {_describe(reader.schema)}; allowed: {_describe(SCHEMA)}; "
                f"{REMEDY}"
            )
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate(full=True)  # else a damaged offset would be read as an address
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({one_line(error)}); {REMEDY}") from None
    return batches


def checksum(image_id: str, encoded: bytes) -> int:
    """Return the CRC-32 of an image_id and its encoded image."""
    return crc32(encoded, crc32(image_id.encode()))


def _to_batch(rows: Sequence[ImageRow]) -> pa.RecordBatch:
    ids = [row.image_id for row in rows]
    facts = [row.facts for row in rows]
    columns = {
        "image_id": ids,
        "id_digest": digest_ids(ids),
        "image": [row.encoded for row in rows],
        "checksum": [checksum(row.image_id, row.encoded) for row in rows],
        "digest": [sha256(row.encoded).digest() for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "pixels": [each.pixels for each in facts],
        "perceptual_hash": [each.perceptual_hash for each in facts],
        "colors": [each.colors for each in facts],
        "color_range": [each.color_range for each in facts],
        "sharpness": [each.sharpness for each in facts],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA)


def _by_bytes(images: Iterable[StoredImage]) -> Iterator[list[StoredImage]]:
    """Yield the images in lists of about BATCH_BYTES each."""
    some: list[StoredImage] = []
    size = 0
    for image in images:
        some.append(image)
        size += image.size
        if size >= BATCH_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _join(rows: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return a batch of copies of rows: of one alone, too, or its bytes in a file would differ."""
    if len(rows) == 1:
        return rows[0].take(pa.array([0]))
    return pa.Table.from_batches(rows, SCHEMA).combine_chunks().to_batches()[0]


def _describe(schema: pa.Schema) -> str:
    return ", ".join(
        f"{field.name} {field.type}{' or null' if field.nullable else ''}" for field in schema
    )
