"""Query and gallery in validation: one rule for training, evaluation and the report."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Mask


def validation_roles(split: NDArray[np.object_], is_gallery: Mask) -> tuple[Mask, Mask]:
    """Return query and gallery of validation: two masks, bool [N].

    The gallery of validation is as that of test: the training images if these are in the test
    gallery, otherwise the validation images.

    split: train, val or test, for each of N images. is_gallery: bool [N], the gallery of test.
    """
    val: Mask = split == "val"
    train_in_gallery: Mask = (split == "train") & is_gallery
    return val, train_in_gallery if train_in_gallery.any() else val
