"""Buckets: which images are stored, embedded and kept together, each bucket in a file.

An image is in the bucket that the first bits of the digest of its image_id say. So a new image
changes one bucket and no other, and the images of one bucket after the other are in `tie_order`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.data.tables import BUCKETS, read_metadata, read_table, write_table
from pipeline.errors import UserError, advise_making

PER_BUCKET = 256  # images at most, where the number of buckets follows theirs
# Whatever reads a folder of Parquet files as one table passes over a name that begins so.
MANIFEST = "_manifest.parquet"
MOST_BITS = 14  # of the number of buckets: each is a memory map, of which Linux allows 65,530
COUNT = "lookalike.buckets"  # in the metadata of the manifest


@dataclass(frozen=True)
class Bucket:
    """A bucket with `rows` images, 1 or more; `digest` changes with what they were made of."""

    number: int
    rows: int
    digest: str

    def path_in(self, folder: Path, suffix: str) -> Path:
        """Return its file in a folder of buckets."""
        return folder / f"{self.number:05d}{suffix}"


@dataclass(frozen=True)
class Manifest:
    """What a folder of buckets holds: those of its `count` buckets that have images, in order."""

    count: int
    buckets: tuple[Bucket, ...]

    @property
    def rows(self) -> int:
        """The number of images in all of them."""
        return sum(bucket.rows for bucket in self.buckets)


def choose_count(images: int) -> int:
    """Return how many buckets so many images are divided into: a power of 4.

    Of 64 to 256 images each, or more where there are over four million: enough for a batch, and few
    where one of them changes. While a catalog grows, the number changes seldom, because then all is
    made anew.

    >>> [choose_count(images) for images in (0, 256, 257, 1200, 60_000, 10**6, 10**9)]
    [1, 1, 4, 16, 256, 4096, 16384]
    """
    count = 1
    while count * PER_BUCKET < images and count < 2**MOST_BITS:
        count *= 4
    return count


def find_buckets(digests: NDArray[np.uint64], count: int) -> Ints:
    """Return int64 [N], the bucket of each image by the digest of its image_id.

    count: a power of 2.

    >>> find_buckets(np.array([0, 2**62, 2**63, 2**64 - 1], np.uint64), 2).tolist()
    [0, 0, 1, 1]
    """
    # In two steps, because a shift by 64, all bits, is not defined.
    bits = count.bit_length() - 1
    return (digests >> np.uint64(1) >> np.uint64(63 - bits)).astype(np.int64)


def write_manifest(
    folder: Path, manifest: Manifest, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the manifest of a folder, after its buckets; `metadata` is text by key beside it."""
    buckets = manifest.buckets
    columns = {
        "bucket": pa.array([bucket.number for bucket in buckets], pa.int32()),
        "rows": pa.array([bucket.rows for bucket in buckets], pa.int64()),
        "digest": pa.array([bucket.digest for bucket in buckets], pa.string()),
    }
    about = {COUNT: str(manifest.count), **(metadata or {})}
    write_table(pa.table(columns), folder / MANIFEST, BUCKETS, metadata=about)


def read_manifest(folder: Path, *, stage: str) -> Manifest:
    """Return the manifest of a folder of buckets.

    stage: what writes the folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{path}: no such file; {advise_making()}")
    columns = read_table(path, BUCKETS).to_pydict()
    buckets = tuple(map(Bucket, columns["bucket"], columns["rows"], columns["digest"]))
    count = _read_count(read_metadata(path).get(COUNT, ""))
    if count is None or not _are_in_order(buckets, count):
        raise UserError(
            f"{path}: damaged (not the manifest of a folder of buckets); get it back: dvc "
            f"checkout, or make it again: dvc repro -f {stage}"
        )
    return Manifest(count, buckets)


def _read_count(text: str) -> int | None:
    allowed = {str(2**bits): 2**bits for bits in range(MOST_BITS + 1)}
    return allowed.get(text)


def _are_in_order(buckets: Sequence[Bucket], count: int) -> bool:
    numbers = [-1, *(bucket.number for bucket in buckets), count]
    return all(a < b for a, b in pairwise(numbers)) and all(bucket.rows > 0 for bucket in buckets)
