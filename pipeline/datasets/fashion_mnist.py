"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels, of 10 kinds of clothing.

Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms"
(2017). It is made for classification, where train and test have every class; here the official
training images are for training and are the gallery, and each official test image is a query.
"""

import gzip
import zlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import OfficialOptions, encode_png, find, if_official
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

ROLES = {"train": "train+gallery", "t10k": "query"}
# From the project's page; the MD5s are there too, and in torchvision.
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def read_images(source: Path, _options: OfficialOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of the official four files, which are in `source` or a folder in it.

    Raises:
        UserError: a file is missing, damaged or of another form, or there are more or fewer labels.
    """
    otherwise = (
        f"data.name fashion_mnist: the official {', '.join(FILES)}; set data.source to their "
        "folder, or data.fashion_mnist.official: true to fetch them"
    )
    for split, roles in ROLES.items():
        images = find(source, f"{split}-images-idx3-ubyte.gz", otherwise=otherwise)
        names = find(source, f"{split}-labels-idx1-ubyte.gz", otherwise=otherwise)
        labels = read_idx(names)
        if labels.ndim != 1 or read_idx(images).ndim != 3 or len(labels) != len(read_idx(images)):
            raise UserError(
                f"{names}: found {labels.shape} labels of {read_idx(images).shape} images; "
                "allowed: one for each image; get a whole copy of both"
            )
        if labels.max(initial=0) >= len(CLASS_NAMES):
            raise UserError(
                f"{names}: found the label {labels.max()}; allowed: 0 to {len(CLASS_NAMES) - 1}; "
                "get a whole copy of it"
            )
        for number, label in enumerate(labels):
            yield SourceImage(
                path=f"{split}/{number:05d}.png",
                labels=(CLASS_NAMES[label],),
                read=partial(_read_png, images, number),
                source_split=roles,
            )


def _read_png(images: Path, number: int) -> bytes:
    return encode_png(read_idx(images)[number])


@lru_cache(maxsize=4)  # each process unpacks a file (47 MB) once, not once for each image
def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the numbers of a gzipped file of the IDX format, whose header has the shape.

    Raises:
        UserError: it is damaged, or does not hold unsigned bytes of that shape.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        zeros, kind, dimensions = content[:2], content[2], content[3]
        start = 4 + 4 * dimensions
        shape = np.frombuffer(content[4:start], dtype=">u4").astype(np.int64)
        if zeros != b"\0\0" or kind != 8:
            raise ValueError("its first bytes are not those of unsigned bytes in IDX")
        return np.frombuffer(content[start:], dtype=np.uint8).reshape(shape)
    except (ValueError, IndexError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path}: not a gzipped IDX file ({error}); get a whole copy of it"
        ) from None


FASHION_MNIST = Dataset(
    options=OfficialOptions,
    read_images=read_images,
    files=if_official({name: (f"{ADDRESS}/{name}", f"md5:{md5}") for name, md5 in FILES.items()}),
    counts={"train+gallery": SplitCounts(60_000, 10), "query": SplitCounts(10_000, 10)},
)
