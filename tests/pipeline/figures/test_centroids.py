"""Which classes are named, where their centroids lie, and that no name covers another one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.figures.centroids import GAP, MOST_NAMES, centroids, choose_named_classes, place_boxes
from pipeline.figures.projection_figures import choose_coloring, draw_projection


def test_an_image_of_many_labels_counts_for_each() -> None:
    classes = [["dog", "person"], ["person"], ["dog"], ["person", "dog"], ["fork"]]
    named = choose_named_classes(classes)
    # Three points each, in the order of the names; one fork has no mean.
    assert {name: rows.tolist() for name, rows in named.rows.items()} == {
        "dog": [0, 2, 3],
        "person": [0, 1, 3],
    }
    assert "the 2 of 3 classes with most points" in named.caption
    points = np.array([[0, 0], [3, 0], [0, 3], [6, 6], [9, 9]], np.float32)
    assert centroids(points, named).tolist() == [[2, 3], [3, 2]]


def test_the_eighty_classes_with_most_points_are_named() -> None:
    classes = [[f"c{label:03d}"] for label in range(100) for _ in range(103 - label)]
    named = list(choose_named_classes(classes).rows)
    assert named == [f"c{label:03d}" for label in range(MOST_NAMES)]


def test_without_a_class_of_three_points_nothing_is_named() -> None:
    named = choose_named_classes([["a"], ["a"], ["b"]])
    assert (dict(named.rows), named.caption) == ({}, "")
    assert centroids(np.zeros((3, 2), np.float32), named).shape == (0, 2)


numbers = st.floats(0, 300, allow_nan=False)


@given(st.lists(st.tuples(numbers, numbers, st.floats(4, 90)), min_size=1, max_size=40))
def test_boxes_neither_overlap_nor_leave_the_frame(
    sampled: list[tuple[float, float, float]],
) -> None:
    anchors = np.array([(x, y) for x, y, _ in sampled])
    sizes = np.array([(width, 10.0) for _, _, width in sampled])
    middles = place_boxes(anchors, sizes, np.array([0.0, 0, 300, 300]))
    boxes = [
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for (width, height), middle in zip(sizes, middles, strict=True)
        if middle is not None
        for x, y in [middle]
    ]
    for place, (left, bottom, right, top) in enumerate(boxes):
        assert min(left, bottom) >= -1e-9
        assert max(right, top) <= 300 + 1e-9
        for other in boxes[:place]:
            gaps = (left - other[2], other[0] - right, bottom - other[3], other[1] - top)
            assert max(gaps) >= GAP - 1e-9


def test_a_name_stands_beside_its_centroid_and_the_next_one_avoids_it() -> None:
    anchors = np.array([[100.0, 100], [100, 100], [0, 0]])
    sizes = np.array([[20.0, 10], [20, 10], [500, 10]])
    first, second, third = place_boxes(anchors, sizes, np.array([0.0, 0, 200, 200]))
    assert first == pytest.approx((116, 100))
    assert second == pytest.approx((84, 100))
    assert third is None


def test_eighty_names_are_drawn_apart_and_inside_their_panel() -> None:
    rng = np.random.default_rng(0)
    classes = [[f"class {label}" for label in rng.choice(80, 3)] for _ in range(400)]
    points = rng.normal(size=(400, 2)).astype(np.float32)
    named = choose_named_classes(classes)
    coloring = choose_coloring(classes, [None] * 400)
    figure = draw_projection("t", {"baseline": points}, coloring, named, {})
    figure.draw_without_rendering()
    [axes] = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    # All centroids lie together in the middle; most names find room all the same.
    assert len(boxes) >= 60
    for place, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:place])
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
    left_out = len(named.rows) - len(boxes)
    note = "" if not left_out else f" Names left out for lack of room: {left_out} of baseline."
    assert figure._supxlabel.get_text().endswith("of the classes." + note)
