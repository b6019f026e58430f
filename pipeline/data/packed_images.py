"""Packed images: buckets of encoded bytes, memory-mapped for random access by image_id."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.arrays import Ints
from pipeline.data.buckets import Bucket, Manifest, find_buckets, read_manifest, write_manifest
from pipeline.data.decoding import UndecodableError, decode
from pipeline.data.files import link_or_copy
from pipeline.data.image_rows import (
    REMEDY,
    SCHEMA,
    SUFFIX,
    ImageColumns,
    RowFiles,
    StoredImage,
    checksum,
    read_rows,
)
from pipeline.data.tie_order import digest_ids, tie_order
from pipeline.errors import UserError


def write_images(images: Mapping[str, StoredImage], folder: Path, *, buckets: int) -> None:
    """Write the buckets and the manifest of `images`, by image_id, to a new folder.

    A file that holds just the images of a bucket, in order, is linked instead of copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(images)
    order = tie_order(ids)
    numbers = find_buckets(digest_ids(ids), buckets)
    files, written = RowFiles(), []
    for number, rows in groupby(order.tolist(), key=lambda row: int(numbers[row])):
        its = [images[ids[row]] for row in rows]
        bucket = Bucket(number, len(its), digest="")
        path = bucket.path_in(folder, SUFFIX)
        if _is_whole_file(its, files):
            link_or_copy(its[0].path, path)
        else:
            files.copy(its, path)
        written.append(Bucket(number, len(its), digest_rows(read_rows(path))))
    write_manifest(folder, Manifest(buckets, tuple(written)))


def _is_whole_file(images: Sequence[StoredImage], files: RowFiles) -> bool:
    """Return whether a file holds just these images, in order."""
    path = images[0].path
    in_order = all((image.path, image.row) == (path, row) for row, image in enumerate(images))
    return in_order and files.count(path) == len(images)


def digest_rows(batches: Iterable[pa.RecordBatch]) -> str:
    """Return 16 hex digits that change with all rows of a bucket and their order.

    Of the images it takes their digests: to read them all takes long.
    """
    digest = sha256()
    for batch in batches:
        for column in batch.drop_columns(["image", "checksum"]).columns:
            for part in _content(column):
                digest.update(part)
    return digest.hexdigest()[:16]


def _content(column: pa.Array) -> Iterator[bytes | pa.Buffer]:
    """Yield the bytes of a column's values, without those that its buffers have beside them."""
    first, last, buffers = column.offset, column.offset + len(column), column.buffers()
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        ends = np.frombuffer(buffers[1], np.int32)[first : last + 1]
        yield (ends - ends[0]).tobytes()
        yield buffers[2][ends[0] : ends[-1]]
    else:
        width = column.type.bit_width // 8
        yield buffers[1][first * width : last * width]


def _scatter(column: pa.ChunkedArray, order: Ints) -> NDArray[np.uint8]:
    """Return uint8 [N, C]: row order[i] has the C bytes of value i; all values are as long."""
    parts = []
    for chunk in column.chunks:
        *ends, values = _content(chunk)
        if ends and len({*np.diff(np.frombuffer(ends[0], np.int32)).tolist()}) > 1:
            raise ValueError("values of several lengths")
        parts.append(np.frombuffer(values, np.uint8).reshape(len(chunk), -1))
    width = parts[0].shape[1] if parts else 0
    out = np.empty((len(order), width), np.uint8)
    first = 0
    for part in parts:
        out[order[first : first + len(part)]] = part
        first += len(part)
    return out


class PackedImages:
    """Random access to the images of a folder of buckets, by image_id.

    Memory-mapped, so that worker processes need no copy; only the folder's path is pickled.

    Attributes:
        manifest: the buckets.

    Raises:
        UserError: there is no manifest, a bucket is missing or damaged, or an id is not in them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory, stage="download")
        buckets = self.manifest.buckets
        read = {bucket: self._read_bucket(bucket) for bucket in buckets}
        self._batches = [(bucket, n, batch) for bucket in buckets for n, batch in read[bucket]]
        self._starts = np.array([0, *accumulate(len(batch) for _, _, batch in self._batches)])
        digests = [batch["id_digest"].to_numpy() for _, _, batch in self._batches]
        self._digests = np.concatenate([np.empty(0, np.uint64), *digests])
        if np.any(self._digests[1:] < self._digests[:-1]):
            raise UserError(f"{directory}: damaged (not in the order of its buckets); {REMEDY}")

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return (PackedImages, (self.directory,))

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, image_id: str) -> bool:
        return self._find(image_id) is not None

    @cached_property
    def ids(self) -> list[str]:
        """The image_id of each image, bucket after bucket, so in `tie_order`."""
        return [each for _, _, batch in self._batches for each in batch["image_id"].to_pylist()]

    def ids_of(self, bucket: Bucket) -> list[str]:
        """Return the image_ids of one bucket, in `tie_order`."""
        first = sum(each.rows for each in self.manifest.buckets if each.number < bucket.number)
        return self.ids[first : first + bucket.rows]

    def read(self, image_id: str) -> bytes:
        """Return the encoded bytes of one image.

        Raises:
            UserError: there is none of this id, or its bytes are not those that were packed.
        """
        if (found := self._find(image_id)) is None:
            raise UserError(f"{self.directory}: no image has image_id '{image_id}'; run: dvc repro")
        encoded: bytes = self._value(found, "image")
        if checksum(image_id, encoded) != self._value(found, "checksum"):
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

    def locate(self, image_id: str) -> StoredImage | None:
        """Return where an image is stored, None where it is not here."""
        if (found := self._find(image_id)) is None:
            return None
        bucket, first, _ = self._batches[found[0]]
        return StoredImage(
            path=bucket.path_in(self.directory, SUFFIX),
            row=first + found[1],
            size=len(self._value(found, "image")),
        )

    def read_columns(self, image_ids: Sequence[str]) -> ImageColumns:
        """Return what is known of the images. image_ids: all that are here, in the order wanted."""
        order = tie_order(image_ids)  # of them: here they are in this order
        rows = np.empty_like(order)
        rows[order] = np.arange(len(order))

        def column(name: str) -> pa.ChunkedArray:
            parts = [batch[name] for _, _, batch in self._batches]
            return pa.chunked_array(parts, SCHEMA.field(name).type)

        return ImageColumns(
            digest=_scatter(column("digest"), order),
            width=column("width").to_numpy()[rows],
            height=column("height").to_numpy()[rows],
            pixels=column("pixels").take(rows).combine_chunks(),
            perceptual_hash=column("perceptual_hash").to_numpy()[rows],
            colors=_scatter(column("colors"), order),
            color_range=column("color_range").to_numpy()[rows],
            sharpness=column("sharpness").to_numpy()[rows],
        )

    def require(self, image_ids: Sequence[str]) -> None:
        """Raise UserError unless every one of `image_ids` has an image here."""
        if image_ids and not len(self):
            raise UserError(
                f"{self.directory}: no images were packed, only their labels; allowed here: "
                "packed images; set data.<name>.images: true"
            )
        unknown = np.flatnonzero(~np.isin(digest_ids(image_ids), self._digests))
        if len(unknown):
            raise UserError(
                f"{self.directory}: {len(unknown)} image_ids have no image, the first is "
                f"'{image_ids[unknown[0]]}'; run: dvc repro download"
            )

    def _find(self, image_id: str) -> tuple[int, int] | None:
        """Return the number of the batch of an image and its row there, None where it is not."""
        [digest] = digest_ids([image_id])
        row = int(np.searchsorted(self._digests, digest))
        while row < len(self) and self._digests[row] == digest:  # two ids may have one digest
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            found = (number, row - int(self._starts[number]))
            if self._value(found, "image_id") == image_id:
                return found
            row += 1
        return None

    def _value(self, found: tuple[int, int], column: str) -> Any:
        return self._batches[found[0]][2][column][found[1]].as_py()

    def _read_bucket(self, bucket: Bucket) -> list[tuple[int, pa.RecordBatch]]:
        """Return each batch of a bucket, with its first row in the file."""
        path = bucket.path_in(self.directory, SUFFIX)
        batches = read_rows(path)
        starts = [0, *accumulate(len(batch) for batch in batches)]
        if starts[-1] != bucket.rows or digest_rows(batches) != bucket.digest:
            raise UserError(f"{path}: damaged (not the bucket of the manifest); {REMEDY}")
        return list(zip(starts, batches, strict=False))
