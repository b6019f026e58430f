"""Read, prepare and store the images of a dataset, in several processes, those of the last run not
again.

Each chunk of images, in the order of the dataset, gives a file of rows; from these and from what is
kept, each bucket is copied.
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

from pipeline.data.image_rows import ImageRow, RowWriter, StoredImage
from pipeline.datasets.source_image import SourceImage
from pipeline.packing.kept_images import KeptImages
from pipeline.packing.preparing import prepare_image
from pipeline.workers import Workers

# Small, so that all processes have work until the end; but no more files than can be open.
CHUNK = 8
MAX_FILES = 512


@dataclass(frozen=True)
class Making:
    """How images are made of their sources: `max_side` of params.yaml, and a digest of the code."""

    max_side: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image of a dataset that was read: where it is stored, or the reason why it cannot be.

    source: as in SOURCES.
    """

    stored: StoredImage | None = None
    reason: str | None = None
    source: bytes = b""


def store_images(
    images: Sequence[SourceImage],
    folder: Path,
    making: Making,
    *,
    kept: Path | None,
    workers: Workers,
) -> Generator[ReadImage, None, None]:
    """Yield each image stored in files of `folder` or of `kept`, in order."""
    size = max(CHUNK, -(-len(images) // MAX_FILES))
    chunks = (
        (folder / f"{first}", images[first : first + size]) for first in range(0, len(images), size)
    )
    store = partial(store_chunk, making=making, kept=KeptImages(kept))
    for done in workers.map(store, chunks):
        yield from done


def store_chunk(
    chunk: tuple[Path, Sequence[SourceImage]], *, making: Making, kept: KeptImages
) -> list[ReadImage]:
    """Store images in a new file, but for those that are kept already. chunk: the file, images."""
    path, images = chunk
    with RowWriter(path) as writer:
        return [_store(image, writer, making, kept) for image in images]


def _store(image: SourceImage, writer: RowWriter, making: Making, kept: KeptImages) -> ReadImage:
    if image.read is None:
        raise ValueError(f"{image.path}: has nothing to read")
    try:
        encoded = image.read()
    except OSError as error:
        return ReadImage(reason=_one_line(f"cannot be read ({error.strerror or error})"))
    source = _digest_source(encoded, image, making)
    if (stored := kept.find(image.id, source)) is not None:
        return ReadImage(stored, source=source)
    prepared = prepare_image(encoded, box=image.box, max_side=making.max_side)
    if prepared.facts is None:
        return ReadImage(reason=prepared.reason)
    row = ImageRow(image.id, prepared.encoded, prepared.width, prepared.height, prepared.facts)
    return ReadImage(writer.add(row), source=source)


def _digest_source(encoded: bytes, image: SourceImage, making: Making) -> bytes:
    digest = hashlib.blake2b(repr((astuple(making), image.box)).encode(), digest_size=16)
    digest.update(encoded)
    return digest.digest()


# Not errors.one_line: this text is in data/rejected.csv, and no output depends on errors.py.
def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())
