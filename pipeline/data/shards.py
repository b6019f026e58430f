"""Packed images: Arrow IPC shards of encoded bytes, memory-mapped for random access by id."""

import os
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.data.decoding import UndecodableError, decode
from pipeline.data.joins import RowLookup
from pipeline.errors import UserError, one_line

# checksum: CRC-32 of image_id and image. Of a changed byte a decoder often makes other pixels.
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), False),
        pa.field("image", pa.binary(), False),
        pa.field("checksum", pa.uint32(), False),
    ]
)
REMEDY = "get it back: dvc checkout, or make it again: dvc repro -f download"
# DVC hashes, links and pushes a shard as a whole. Small batches stay below Arrow's 32-bit offsets.
SHARD_BYTES = 256 * 2**20
BATCH_BYTES = 16 * 2**20


class ShardWriter:
    """Writes images, in the order they are added, to `directory`/00000.arrow, 00001.arrow, …"""

    def __init__(self, directory: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.directory = directory
        self.shard_bytes = shard_bytes
        self._shards = 0
        self._sink: pa.RecordBatchFileWriter | None = None
        self._in_shard = self._in_batch = 0
        self._rows: list[tuple[str, bytes]] = []
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, image_id: str, encoded: bytes) -> None:
        """Append one image; its bytes are stored as they are."""
        self._rows.append((image_id, encoded))
        self._in_batch += len(encoded)
        if self._in_batch >= min(BATCH_BYTES, self.shard_bytes):
            self._flush()

    def close(self) -> None:
        """Write the last batch; after this the shards, at least one, can be read."""
        self._flush()
        if not self._shards:
            self._open_shard()
        self._end_shard()

    def _flush(self) -> None:
        if not self._rows:
            return
        ids, images = zip(*self._rows, strict=True)
        sums = pa.array([_checksum(*row) for row in self._rows], pa.uint32())
        self._open_shard().write_batch(
            pa.record_batch([pa.array(ids), pa.array(images), sums], schema=SCHEMA)
        )
        self._in_shard += self._in_batch
        self._rows, self._in_batch = [], 0
        if self._in_shard >= self.shard_bytes:
            self._end_shard()

    def _open_shard(self) -> pa.RecordBatchFileWriter:
        if self._sink is None:
            path = self.directory / f"{self._shards:05d}.arrow"
            self._sink = pa.ipc.new_file(os.fspath(path), SCHEMA)
        return self._sink

    def _end_shard(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink, self._in_shard = None, 0
            self._shards += 1


def _checksum(image_id: str, encoded: bytes) -> int:
    return crc32(encoded, crc32(image_id.encode()))


def _read_shard(path: Path) -> list[pa.RecordBatch]:
    """Return the batches of a shard, memory-mapped.

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


def _describe(schema: pa.Schema) -> str:
    return ", ".join(
        f"{field.name} {field.type}{' or null' if field.nullable else ''}" for field in schema
    )


class PackedImages:
    """Random access to the images of a shard directory, by image_id.

    Memory-mapped, so that worker processes need no copy; only the directory is pickled.

    Raises:
        UserError: the directory holds no shards, one is damaged, or an id is not in them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        paths = sorted(directory.glob("*.arrow"))
        if not paths:
            raise UserError(f"{directory}: found no *.arrow shards; run: dvc repro download")
        self._batches = [batch for path in paths for batch in _read_shard(path)]
        lengths = [batch.num_rows for batch in self._batches]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self.ids: list[str] = [
            image_id for batch in self._batches for image_id in batch.column(0).to_pylist()
        ]
        self._rows = RowLookup(self.ids, table=directory)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return (PackedImages, (self.directory,))

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, image_id: str) -> bytes:
        """Return the encoded bytes of one image.

        Raises:
            UserError: there is none of this id, or its bytes are not those that were packed.
        """
        row = self._rows.find(image_id)
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        batch, row_in_batch = self._batches[number], row - int(self._starts[number])
        encoded: bytes = batch.column(1)[row_in_batch].as_py()
        if _checksum(image_id, encoded) != batch.column(2)[row_in_batch].as_py():
            raise UserError(
                f"{self.directory}: image '{image_id}': damaged (its bytes are not those that were "
                f"packed); {REMEDY}"
            )
        return encoded

    def decode(self, image_id: str) -> Image.Image:
        """Return one image as RGB, upright.

        Raises:
            UserError: it cannot be decoded.
        """
        return self._decode(image_id, None)

    def decode_small(self, image_id: str, *, side: int) -> Image.Image:
        """Return one image as `decode` does, if it is a JPEG then perhaps smaller, which is faster.

        side: neither its width nor its height becomes smaller than this many pixels.
        """
        return self._decode(image_id, (side, side))

    def _decode(self, image_id: str, least_size: tuple[int, int] | None) -> Image.Image:
        encoded = self.read(image_id)
        try:
            return decode(encoded, least_size=least_size)
        except UndecodableError as error:
            raise UserError(
                f"{self.directory}: image '{image_id}': {error}; allowed: images as download "
                f"packs them; {REMEDY}"
            ) from None

    def require(self, image_ids: Sequence[str]) -> None:
        """Raise UserError unless every one of `image_ids` has an image here."""
        if image_ids and not self.ids:
            raise UserError(
                f"{self.directory}: no images were packed, only their labels; allowed here: "
                "packed images; set data.<name>.images: true"
            )
        unknown = [image_id for image_id in image_ids if self._rows.get(image_id) is None]
        if unknown:
            raise UserError(
                f"{self.directory}: {len(unknown)} image_ids have no image, the first is "
                f"'{unknown[0]}'; run: dvc repro download"
            )
