"""Whether the test classes are a sample of classes, or all there are."""

import numpy as np
import pytest

from pipeline.data.label_sets import from_lists
from pipeline.evaluation.intervals_over import are_test_classes_new, choose_intervals_over


@pytest.mark.parametrize(
    ("labels", "split", "new"),
    [
        ([[0], [1], [2]], ["train", "val", "test"], True),
        ([[0], [1], [0]], ["train", "val", "test"], False),
        ([[0], [1], [1]], ["train", "val", "test"], False),
        ([[0, 1], [2, 3], [3, 4]], ["train", "test", "test"], True),
        ([[0, 1], [2, 3], [1, 4]], ["train", "test", "test"], False),
        ([[0], [1]], ["test", "test"], True),
    ],
)
def test_test_classes_are_new_if_no_label_is_one_of_training_or_validation(
    labels: list[list[int]], split: list[str], new: bool
) -> None:
    assert are_test_classes_new(from_lists(labels), np.array(split, object)) == new


@pytest.mark.parametrize(
    ("classes", "seen", "over"), [(6, 0, "classes"), (5, 0, "images"), (40, 1, "images")]
)
def test_intervals_are_over_classes_if_these_are_new_and_six_or_more(
    classes: int, seen: int, over: str
) -> None:
    labels = [[label] for label in range(classes)] * 2 + [[0 if seen else classes]]
    split = np.array(["test"] * (2 * classes) + ["train"], object)
    assert choose_intervals_over(from_lists(labels), split, split == "test") == over


def test_intervals_of_sampled_queries_of_few_classes_are_over_images() -> None:
    labels, split = from_lists([[label] for label in range(9)]), np.array(["test"] * 9, object)
    sampled = [choose_intervals_over(labels, split, np.arange(9) < count) for count in (5, 6)]
    assert sampled == ["images", "classes"]
