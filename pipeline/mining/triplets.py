"""Mined triplets, the result of each method of mining."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ints


@dataclass(frozen=True)
class MinedTriplets:
    """T triplets of N images, in the order of their anchors.

    anchors, positives, negatives: int64 [T], rows. shared: int16 [T], the number of labels that
    anchor and positive share. without_positive, without_negative: the number of images without a
    triplet, because they have no positive or no negative. overlapping: the number of triplets with
    a negative that shares a label with anchor or positive, because every image does.
    """

    anchors: Ints
    positives: Ints
    negatives: Ints
    shared: NDArray[np.int16]
    without_positive: int
    without_negative: int
    overlapping: int = 0
