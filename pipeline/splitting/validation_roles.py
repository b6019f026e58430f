"""Who asks and who is searched in validation: one rule for training, evaluate and the report."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Mask


def validation_roles(split: NDArray[np.object_], is_gallery: Mask) -> tuple[Mask, Mask]:
    """Return who asks and who is searched in validation: two masks, bool [N].

    Validation images are searched where test images will be: among the training images
    where those are in the gallery, else among one another.

    split: of each of N images, train, val or test. is_gallery: bool [N], who is searched in test.
    """
    asks: Mask = split == "val"
    known: Mask = (split == "train") & is_gallery
    return asks, known if known.any() else asks
