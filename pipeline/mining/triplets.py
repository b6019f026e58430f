"""What mining finds, whichever way it was looked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ints


@dataclass(frozen=True)
class MinedTriplets:
    """T triplets of N images, in the order of their anchors.

    anchors, positives, negatives: int64 [T], rows. shared: int16 [T], the labels that anchor and
    positive share. without_positive, without_negative: images left out, because none shares a
    label with them, or because none can be their negative. overlapping: triplets whose negative
    shares a label with anchor or positive, because no image is without.
    """

    anchors: Ints
    positives: Ints
    negatives: Ints
    shared: NDArray[np.int16]
    without_positive: int
    without_negative: int
    overlapping: int = 0
