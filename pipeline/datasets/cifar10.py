"""CIFAR-10: 60,000 images of 32 x 32 pixels, of 10 kinds of animals and vehicles.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). It is made for
classification, where train and test have every class; here the official training images are for
training and are the gallery, and each official test image is a query. The binary version is read,
because the one for Python is a pickle, which may run any code.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import OfficialOptions, encode_png, find, if_official
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

BATCH_FILES = {f"data_batch_{number}.bin": "train+gallery" for number in range(1, 6)} | {
    "test_batch.bin": "query"
}
# URL and MD5 as on the project's page.
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"

SIDE = 32  # pixels
RECORD_BYTES = 1 + 3 * SIDE * SIDE  # the label, then all reds, greens and blues, by rows


def read_images(source: Path, _options: OfficialOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of the six batches; `source` holds cifar-10-batches-bin or is it.

    Raises:
        UserError: a batch or the names of the classes are missing, or a batch is cut off.
    """
    otherwise = (
        "data.name cifar10: the folder cifar-10-batches-bin or cifar-10-binary.tar.gz; set "
        "data.source to it, or data.cifar10.official: true to fetch it"
    )
    root = find(source, "batches.meta.txt", otherwise=otherwise).parent
    names = (root / "batches.meta.txt").read_text(encoding="ascii", errors="replace").split()
    for batch, roles in BATCH_FILES.items():
        path = find(root, batch, otherwise=otherwise)
        for number, label in enumerate(_read_labels(path, classes=len(names))):
            yield SourceImage(
                path=f"{path.stem}/{number:05d}.png",
                labels=(names[label],),
                read=partial(read_record, path, number),
                source_split=roles,
            )


def _read_labels(path: Path, *, classes: int) -> list[int]:
    content = np.fromfile(path, dtype=np.uint8)
    if len(content) % RECORD_BYTES:
        raise UserError(
            f"{path}: found {len(content):,} bytes; allowed: a multiple of {RECORD_BYTES:,}, the "
            "bytes of an image and its label; get a whole copy of it"
        )
    labels = [int(label) for label in content[::RECORD_BYTES]]
    if max(labels, default=0) >= classes:
        raise UserError(
            f"{path}: found the label {max(labels)}; allowed: 0 to {classes - 1}, the lines of "
            "batches.meta.txt; get a whole copy of it"
        )
    return labels


def read_record(path: Path, number: int) -> bytes:
    """Return image `number` (from 0) of a batch as PNG."""
    offset = number * RECORD_BYTES + 1
    flat = np.fromfile(path, dtype=np.uint8, count=RECORD_BYTES - 1, offset=offset)
    return encode_png(flat.reshape(3, SIDE, SIDE).transpose(1, 2, 0))  # (32, 32, 3)


CIFAR10 = Dataset(
    options=OfficialOptions,
    read_images=read_images,
    archives=if_official({ARCHIVE: f"md5:{MD5}"}),
    counts={"train+gallery": SplitCounts(50_000, 10), "query": SplitCounts(10_000, 10)},
)
