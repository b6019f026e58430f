from collections import Counter

import pytest

from pipeline.figures.projection_sample import ProjectionSample
from pipeline.report.contents import choose_examples


def sample(classes: list[str]) -> ProjectionSample:
    ids = [str(row) for row in range(len(classes))]
    return ProjectionSample(
        ids, [[name] for name in classes], [None] * len(classes), total=len(classes)
    )


@pytest.mark.parametrize("count", [1, 3, 8, 40])
def test_examples_are_spread_evenly_over_the_classes(count: int) -> None:
    classes = [f"c{row % count}" for row in range(60)]
    rows = choose_examples(sample(classes), most=24)
    assert len(set(rows)) == len(rows) == 24
    shown = Counter(classes[row] for row in rows)
    assert len(shown) == min(count, 24)
    assert max(shown.values()) - min(shown.values()) <= 1


def test_of_many_classes_those_in_between_are_left_out() -> None:
    assert choose_examples(sample([f"c{row}" for row in range(100)]), most=4) == [0, 25, 50, 75]


def test_of_few_images_all_are_examples() -> None:
    assert sorted(choose_examples(sample(["a", "b", "a"]), most=24)) == [0, 1, 2]
