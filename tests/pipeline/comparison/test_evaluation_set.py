"""Which models are comparable: the same gallery, and the same classes of shared images."""

from pathlib import Path

import pytest

from pipeline.comparison.evaluation_set import check_comparable, read_evaluation_set
from pipeline.errors import UserError
from tests.helpers.dataset_tables import (
    build_catalog,
    build_classes,
    build_splits,
    write_dataset_tables,
)

IMAGES = {"a": ["cup"], "b": ["cup", "bowl"], "c": ["bowl"], "t": ["vase"]}


def write(place: Path, images: dict[str, list[str]], names: list[str], gallery: str) -> Path:
    """Write the three tables; `names` are the classes by label, "t" is a training image."""
    splits = {image_id: "train" if image_id == "t" else "test" for image_id in images}
    write_dataset_tables(
        place,
        catalog=build_catalog({i: [names.index(n) for n in of] for i, of in images.items()}),
        classes=build_classes(names),
        splits=build_splits(splits, queries="ab", gallery=gallery),
    )
    return place


def test_it_has_the_class_names_of_queries_and_gallery(tmp_path: Path) -> None:
    evaluation_set = read_evaluation_set(write(tmp_path, IMAGES, ["cup", "bowl", "vase"], "bc"))
    assert evaluation_set.gallery == {"b", "c"}
    assert evaluation_set.classes.to_dict() == {"a": ("cup",), "b": ("bowl", "cup"), "c": ("bowl",)}


def test_other_training_images_and_other_label_numbers_are_comparable(tmp_path: Path) -> None:
    a = read_evaluation_set(write(tmp_path / "a", IMAGES, ["cup", "bowl", "vase"], "bc"))
    more = IMAGES | {"t": ["jar"]}
    b = read_evaluation_set(write(tmp_path / "b", more, ["bowl", "jar", "cup"], "bc"))
    check_comparable(a, b)
    check_comparable(b, a)
    assert a.gallery == b.gallery
    assert a.classes.to_dict() == b.classes.to_dict()


@pytest.mark.parametrize(("in_training", "new"), [("vase", True), ("cup", False)])
def test_it_knows_whether_a_test_class_was_trained_on(
    in_training: str, new: bool, tmp_path: Path
) -> None:
    images = IMAGES | {"t": [in_training]}
    found = read_evaluation_set(write(tmp_path, images, ["cup", "bowl", "vase"], "bc"))
    assert found.new_classes == new


def test_two_galleries_are_refused(tmp_path: Path) -> None:
    a, b = (
        read_evaluation_set(write(tmp_path / gallery, IMAGES, ["cup", "bowl", "vase"], gallery))
        for gallery in ("abc", "b")
    )
    with pytest.raises(UserError) as error:
        check_comparable(a, b)
    assert str(error.value) == (
        "A and B: found two galleries, 2 images are only in A's and 0 only in B's; allowed: one "
        "gallery, because metrics depend on it; give both the same data, split and seed (for "
        "another training, change train.seed)"
    )


def test_other_classes_of_an_image_are_refused(tmp_path: Path) -> None:
    names = ["cup", "bowl", "vase"]
    a = read_evaluation_set(write(tmp_path / "a", IMAGES, names, "bc"))
    b = read_evaluation_set(write(tmp_path / "b", IMAGES | {"b": ["cup"]}, names, "bc"))
    with pytest.raises(UserError) as error:
        check_comparable(a, b)
    assert str(error.value) == (
        "A and B: found other classes for 1 images, the first is 'b': bowl + cup in A, cup in B; "
        "allowed: one catalog"
    )
