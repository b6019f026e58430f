"""A number from 0 to 1 for each name, by which names are sampled alike however many there are."""

import hashlib
from collections.abc import Iterable

import numpy as np

from pipeline.data.arrays import Floats


def number_names(names: Iterable[str], *, key: str) -> Floats:
    """Return float64 [N] from 0 to 1: uniform, and the same for the same name and key everywhere.

    It is the first 64 bits of BLAKE2b of key, a zero byte and name.

    >>> number_names(["ant", "bee"], key="7").round(3).tolist()
    [0.28, 0.909]
    """
    salt = f"{key}\0".encode()
    digests = [hashlib.blake2b(salt + name.encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), dtype=">u8") / 2.0**64
