"""Images of more than 8 bits of gray, as scanners and microscopes write, as 256 levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the levels that are usual. Files have 16, of which few may be in use.
DEPTHS = (8, 10, 12, 14, 16)
STRIP_PIXELS = 2**20  # whose levels are computed at a time, in 8 bytes each


def to_levels(gray: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 256 levels of gray, uint8 [H, W], of any numbers [H, W], the same on every machine.

    White is 1 for fractions from 0 to 1. Of whole numbers from 0 it is the greatest of the first of
    DEPTHS that holds them all. Of any other numbers, the least is black and the greatest white.
    What is no number, as around a scan, is black.

    >>> to_levels(np.array([[0, 4095]])).tolist(), to_levels(np.array([[0, 1.0]])).tolist()
    ([[0, 255]], [[0, 255]])
    """
    black, white = _black_and_white(gray)
    levels = np.empty(gray.shape, np.uint8)
    rows = max(1, STRIP_PIXELS // gray.shape[1])
    for top in range(0, len(gray), rows):
        strip = gray[top : top + rows].astype(np.float64)
        strip = np.nan_to_num(strip, nan=black, posinf=white, neginf=black)
        levels[top : top + rows] = (strip - black) * 255 / ((white - black) or 1)
    return levels


def _black_and_white(gray: NDArray[Any]) -> tuple[float, float]:
    whole = np.issubdtype(gray.dtype, np.integer)
    known = gray if whole else gray[np.isfinite(gray)]
    if not known.size:
        return 0.0, 1.0
    least, greatest = float(known.min()), float(known.max())
    whites = [2.0**bits - 1 for bits in DEPTHS] if whole else [1.0]
    if least < 0 or greatest > whites[-1]:
        return least, greatest
    return 0.0, next(white for white in whites if greatest <= white)
