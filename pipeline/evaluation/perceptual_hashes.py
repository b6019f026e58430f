"""Perceptual hashes: what a smaller or re-encoded copy of an image keeps, nearly all of it.

64 bits tell the shapes of an image, its mean colours what the bits leave out: a red mug and a blue
one have the same shapes.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PARTS = 8  # an image has so many parts across and down, each with its mean colour
# Of 255 levels of red, green or blue. Measured on photographs, in the part that differs most: JPEG
# of quality 10 and another size, at most 12; 8% brighter, 18; 15% brighter or 2% cropped, 33. Of
# images turned by a third of the colour circle, the median differs by 81.
COLOUR_TOLERANCE = 40


@dataclass(frozen=True)
class Hashes:
    """Hashes of N images.

    bits: uint64 [N], pHash. colours: uint8 [N, PARTS, PARTS, 3], mean red, green and blue.
    """

    bits: NDArray[np.uint64]
    colours: NDArray[np.uint8]


# image_ids -> the hash of each one's image.
HashImages = Callable[[Sequence[str]], Hashes]


def hash_images(image_ids: Sequence[str], image: Callable[[str], Image.Image]) -> Hashes:
    """Return the pHash and the mean colours of each image.

    The bits say which of the 64 lowest frequencies of the image, shrunk to 32 x 32 grey pixels,
    are above their median (Klinger and Starkweather 2010, pHash). Colour, size and compression
    hardly change them; a mirror image or another crop does.

    image: image_id -> image; called from several threads.
    """

    def hash_one(image_id: str) -> tuple[int, NDArray[np.uint8]]:
        opened = image(image_id)
        bits = imagehash.phash(opened, hash_size=8).hash
        small = opened.convert("RGB").resize((PARTS, PARTS), Image.Resampling.BOX)
        return int.from_bytes(np.packbits(bits).tobytes(), "big"), np.asarray(small)

    # Most of the time goes into decoding, which Pillow does outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(hash_one, image_ids))
    colours = np.array([small for _, small in found], np.uint8).reshape(-1, PARTS, PARTS, 3)
    return Hashes(np.array([bits for bits, _ in found], np.uint64), colours)


def count_differing_bits(bits: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return in how many bits each of two arrays of hashes, uint64 [N], differ: int64 [N], 0-64."""
    count: NDArray[np.int64] = np.bitwise_count(bits ^ others).astype(np.int64)
    return count


def agree_in_colour(colours: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return bool [N]: whether no part of the two differs by more than COLOUR_TOLERANCE.

    Both uint8 [N, PARTS, PARTS, 3]. Every part counts: a mug may be a tenth of its image.
    """
    apart = np.abs(colours.astype(np.int16) - others.astype(np.int16))
    agree: NDArray[np.bool_] = apart.max(axis=(1, 2, 3)) <= COLOUR_TOLERANCE
    return agree
