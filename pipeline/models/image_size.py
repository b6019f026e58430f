"""The side of a network's input where params.yaml says `auto`."""

import numpy as np

from pipeline.data.arrays import Ints

# Smaller images than this are enlarged: most networks shrink their input by 32, and see little in
# a map of two positions.
LEAST = 96
STEP = 32


def choose_image_size(own: int, *, widths: Ints, heights: Ints) -> int:
    """Return the network's own image size, or a smaller one where the images are smaller.

    Then it is the median of their shorter sides, rounded up to a multiple of 32, but at least 96.

    own: pixels, what the network's weights were trained with. widths, heights: int [N], pixels.
    """
    shorter = float(np.median(np.minimum(widths, heights)))
    return min(own, max(LEAST, int(-(-shorter // STEP)) * STEP))
