"""The order of images in files and where scores tie: one that knows nothing of classes."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ids, Ints

DIGEST_BYTES = 8


def tie_order(ids: Ids) -> Ints:
    """Return int64 [N]: the rows of N image_ids in the order in which ties are broken.

    By a digest of the image_id, then by the image_id. In the order of the image_ids, images of one
    class stand together where their folder is named after it, and ties would favour some classes.

    >>> ids = ["ant/1", "ant/2", "bee/1", "bee/2"]
    >>> [ids[row] for row in tie_order(ids)]
    ['bee/2', 'ant/2', 'ant/1', 'bee/1']
    """
    digests = digest_ids(ids)
    order = np.argsort(digests, kind="stable").astype(np.int64)
    if len(np.unique(digests)) < len(digests):  # rare, so that sorting pairs may take its time
        order = np.array(sorted(order, key=lambda row: (digests[row], ids[row])), dtype=np.int64)
    return order


def digest_ids(ids: Ids) -> NDArray[np.uint64]:
    """Return uint64 [N]: the first 64 bits of BLAKE2b of each image_id."""
    return np.array([_digest(image_id) for image_id in ids], dtype=np.uint64)


def _digest(image_id: str) -> int:
    digest = hashlib.blake2b(image_id.encode(), digest_size=DIGEST_BYTES).digest()
    return int.from_bytes(digest, "big")
