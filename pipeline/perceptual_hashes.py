"""Perceptual hashes: 64 bits a picture, nearly all of which a smaller or re-encoded copy keeps."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hashes = NDArray[np.uint64]
# image_ids -> the hash of each one's picture.
HashPictures = Callable[[Sequence[str]], Hashes]


def hash_pictures(image_ids: Sequence[str], picture: Callable[[str], Image.Image]) -> Hashes:
    """Return the pHash of each picture, uint64 [N].

    Its bits say which of the 64 lowest frequencies of the picture, shrunk to 32 x 32 grey pixels,
    are above their median (Klinger and Starkweather 2010, pHash). Colour, size and compression
    hardly change them; a mirror image or another crop does.

    picture: image_id -> picture; called from several threads.
    """

    def hash_one(image_id: str) -> int:
        bits = imagehash.phash(picture(image_id), hash_size=8).hash
        return int.from_bytes(np.packbits(bits).tobytes(), "big")

    # Most of the time goes into decoding, which Pillow does outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.fromiter(threads.map(hash_one, image_ids), np.uint64, count=len(image_ids))


def count_differing_bits(hashes: Hashes, others: Hashes) -> NDArray[np.int64]:
    """Return in how many bits each of two arrays of hashes, uint64 [N], differ: int64 [N], 0-64."""
    bits: NDArray[np.int64] = np.bitwise_count(hashes ^ others).astype(np.int64)
    return bits
