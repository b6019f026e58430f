import numpy as np

from pipeline.figures.centroids import choose_named_classes
from pipeline.figures.projection_figures import choose_coloring, draw_projection


def test_colors_are_classes_up_to_twenty_then_groups() -> None:
    few = [[f"c{i % 20}"] for i in range(60)]
    many = [[f"c{i % 21}"] for i in range(60)]
    groups = [f"g{i % 3}" for i in range(60)]
    assert choose_coloring(few, groups).keys == [name for [name] in few]
    assert choose_coloring(many, groups).keys == groups
    assert choose_coloring(many, groups).legend == ["g0", "g1", "g2"]


def test_of_too_many_classes_the_ten_largest_are_colored_and_the_caption_says_so() -> None:
    classes = [f"c{i:02d}" for i in range(25) for _ in range(25 - i)]
    coloring = choose_coloring([[name] for name in classes], [None] * len(classes))
    assert coloring.legend == [f"c{i:02d}" for i in range(10)]
    assert [key for key in coloring.keys if key] == [c for c in classes if c < "c10"]
    assert "the 10 of 25 classes with most points; the others are gray" in coloring.caption


def test_images_of_many_labels_are_colored_by_group_or_by_their_rarest_class() -> None:
    classes = [["dog", "person"], ["person"], ["fork", "person"], ["person", "dog"]]
    groups = ["animal", "person", None, "animal"]
    assert choose_coloring(classes, groups).keys == ["animal", "person", "no group", "animal"]
    coloring = choose_coloring(classes, [None] * 4)
    assert coloring.keys == ["dog", "person", "fork", "dog"]
    assert coloring.legend == ["dog", "fork", "person"]
    assert "its color is the rarest of its classes in the legend" in coloring.caption


def test_the_legend_has_every_class_by_its_name() -> None:
    names = ["_private", "others", "$x$", "日本語"]
    classes = [[names[i % 4]] for i in range(40)]
    coloring = choose_coloring(classes, [None] * 40)
    points = {"finetuned": np.zeros((40, 2), dtype=np.float32)}
    figure = draw_projection("t", points, coloring, choose_named_classes([]), {})
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == sorted(names)


def test_each_point_is_drawn_once_in_both_panels() -> None:
    classes = [[f"c{i % 25}"] for i in range(100)]
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    coloring = choose_coloring(classes, [None] * 100)
    both = {"baseline": points, "finetuned": points}
    figure = draw_projection("t", both, coloring, choose_named_classes(classes), {})
    for axes in figure.axes:
        drawn = np.concatenate([marks.get_offsets() for marks in axes.collections])
        assert np.array_equal(np.sort(drawn[:, 0]), np.sort(points[:, 0]))
