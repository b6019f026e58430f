"""Read, prepare and store the images of a dataset, in several processes, those of the last run not
again.

Each chunk of images, in the order of the dataset, gives a file of rows; from these and from what is
kept, each bucket is copied.
"""

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass
from pathlib import Path

from pipeline.data.image_rows import ImageRow, RowWriter, StoredImage
from pipeline.datasets.source_image import SourceImage
from pipeline.packing.kept_images import KeptImages, open_kept
from pipeline.packing.preparing import prepare_image
from pipeline.stopping import WorkerPool

# Small, so that all processes have work until the end; but no more files than can be open.
CHUNK = 8
MAX_FILES = 512
CHUNKS_AHEAD = 3


@dataclass(frozen=True)
class Making:
    """How images are made of their sources: `max_side` of params.yaml, and a digest of the code."""

    max_side: int | None = None
    code: str = ""


@dataclass(frozen=True)
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
    processes: int,
) -> Generator[ReadImage, None, None]:
    """Yield each image stored in files of `folder` or of `kept`, in order.

    A bounded number of chunks is worked on at a time.
    """
    if not KeptImages(kept).any:  # said here, once, if they cannot be read
        kept = None
    waiting: deque[Future[list[ReadImage]]] = deque()
    size = max(CHUNK, -(-len(images) // MAX_FILES))
    with WorkerPool(processes) as pool:
        for first in range(0, len(images), size):
            chunk = images[first : first + size]
            waiting.append(pool.submit(store_chunk, chunk, folder / f"{first}", making, kept))
            if len(waiting) >= processes * CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def store_chunk(
    images: Sequence[SourceImage], path: Path, making: Making, kept: Path | None
) -> list[ReadImage]:
    """Store images in the new file `path`, but for those that are in `kept` already."""
    writer = RowWriter(path)
    done = [_store(image, writer, making, open_kept(kept)) for image in images]
    writer.close()
    return done


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
