"""What the intervals of a model's metrics speak of: other classes, or other images of these."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Mask
from pipeline.data.label_sets import LabelSets

IntervalsOver = Literal["classes", "images"]
INTERVALS_OVER = "intervals_over"  # the key in metrics/details/<model>.json
# Of fewer classes, the intervals contain the value of other classes too seldom: that of recall@1 in
# 0.85 with 4, 0.92 with 5 and 0.97 with 6 classes (tests/pipeline/evaluation/test_coverage.py).
MIN_CLASSES = 6


def choose_intervals_over(
    labels: LabelSets, split: NDArray[np.object_], is_query: Mask
) -> IntervalsOver:
    """Return `classes` if the test classes are a sample of classes, with MIN_CLASSES of queries.

    labels: of N images. split: train, val or test, [N]. is_query: bool [N], those measured.
    """
    classes = np.unique(labels.take(np.flatnonzero(is_query)).values)
    new = are_test_classes_new(labels, split)
    return "classes" if new and len(classes) >= MIN_CLASSES else "images"


def are_test_classes_new(labels: LabelSets, split: NDArray[np.object_]) -> bool:
    """Return whether no label of the test images is one of a training or validation image.

    Then the test classes are a sample of the classes that the model may meet; otherwise they are
    all there are.

    labels: of N images. split: train, val or test, [N].
    """
    is_test = split == "test"
    test, other = (labels.take(np.flatnonzero(rows)).values for rows in (is_test, ~is_test))
    return not np.isin(test, other).any()
