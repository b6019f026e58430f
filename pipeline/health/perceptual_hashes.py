"""Perceptual hashes: features of an image that a smaller or re-encoded copy keeps nearly all of.

64 bits describe the shapes of an image, and mean colors what the bits miss: a red and a blue mug
have the same shapes.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.arrays import Ints, Mask

SIDE = 32  # grey pixels whose frequencies are hashed
FREQUENCIES = 8  # in each direction, the lowest
# The cosines of a discrete cosine transform, in whole numbers: floating point would let noise
# decide the bits of frequencies that a symmetric image does not have.
COSINES = np.array(
    [
        [round(2**16 * math.cos(math.pi * k * (2 * n + 1) / (2 * SIDE))) for n in range(SIDE)]
        for k in range(FREQUENCIES)
    ],
    np.int64,
)
GRID = 8  # an image is divided into GRID x GRID cells, each with its mean color
# Of 255 levels of red, green or blue. Measured on photographs, in the cell that differs most: JPEG
# of quality 10 and another size, at most 12; 8% brighter, 18; 15% brighter or 2% cropped, 33. If
# hues are rotated by a third of the color circle, the median difference is 81.
COLOR_TOLERANCE = 40


@dataclass(frozen=True)
class Hashes:
    """Hashes of N images.

    bits: uint64 [N], pHash. colors: uint8 [N, GRID, GRID, 3], mean red, green and blue.
    """

    bits: NDArray[np.uint64]
    colors: NDArray[np.uint8]


# image_ids -> the hashes of their images.
HashImages = Callable[[Sequence[str]], Hashes]


def hash_images(image_ids: Sequence[str], read_image: Callable[[str], Image.Image]) -> Hashes:
    """Return the pHash and the mean colors of each image.

    read_image: image_id -> image; called from several threads.
    """
    # Most of the time is decoding, during which Pillow releases the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        hashes = list(threads.map(lambda image_id: hash_image(read_image(image_id)), image_ids))
    colors = np.array([cells for _, cells in hashes], np.uint8).reshape(-1, GRID, GRID, 3)
    return Hashes(np.array([bits for bits, _ in hashes], np.uint64), colors)


def hash_image(image: Image.Image) -> tuple[int, NDArray[np.uint8]]:
    """Return the 64 bits of the pHash, and the mean colors, uint8 [GRID, GRID, 3].

    The bits show which of the 64 lowest frequencies of the image, resized to 32 x 32 grey pixels,
    are above their median (Klinger and Starkweather 2010, pHash). Color, size and compression
    hardly change them; a horizontal flip or another crop does.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    strengths = COSINES @ np.asarray(grey, np.int64) @ COSINES.T
    bits = np.packbits(strengths > np.median(strengths)).tobytes()
    cells = image.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    return int.from_bytes(bits, "big"), np.asarray(cells)


def count_differing_bits(bits: NDArray[np.uint64], others: NDArray[np.uint64]) -> Ints:
    """Return the number of differing bits of two arrays of hashes, uint64 [N]: int64 [N], 0-64."""
    count: Ints = np.bitwise_count(bits ^ others).astype(np.int64)
    return count


def agree_in_color(colors: NDArray[np.uint8], others: NDArray[np.uint8]) -> Mask:
    """Return bool [N]: whether no cell of the two differs by more than COLOR_TOLERANCE.

    Both uint8 [N, GRID, GRID, 3]. Every cell counts: a mug may cover a tenth of its image.
    """
    difference = np.abs(colors.astype(np.int16) - others.astype(np.int16))
    agree: Mask = difference.max(axis=(1, 2, 3)) <= COLOR_TOLERANCE
    return agree
