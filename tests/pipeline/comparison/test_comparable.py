"""Only answers to the same questions are compared: what counts as the same."""

from pathlib import Path

import pytest

from pipeline.comparison.comparable import check_comparable, read_test_set
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


def test_it_is_queries_and_gallery_by_the_names_of_their_classes(tmp_path: Path) -> None:
    test_set = read_test_set(write(tmp_path, IMAGES, ["cup", "bowl", "vase"], "bc"))
    assert test_set.gallery == {"b", "c"}
    assert test_set.classes.to_dict() == {"a": ("cup",), "b": ("bowl", "cup"), "c": ("bowl",)}


def test_other_training_images_and_other_numbers_of_classes_do_not_matter(tmp_path: Path) -> None:
    a = read_test_set(write(tmp_path / "a", IMAGES, ["cup", "bowl", "vase"], "bc"))
    more = IMAGES | {"t": ["jar"]}
    b = read_test_set(write(tmp_path / "b", more, ["bowl", "jar", "cup"], "bc"))
    check_comparable(a, b)
    check_comparable(b, a)
    assert a.gallery == b.gallery
    assert a.classes.to_dict() == b.classes.to_dict()


def test_two_galleries_are_refused(tmp_path: Path) -> None:
    a, b = (
        read_test_set(write(tmp_path / gallery, IMAGES, ["cup", "bowl", "vase"], gallery))
        for gallery in ("abc", "b")
    )
    with pytest.raises(UserError) as error:
        check_comparable(a, b)
    assert str(error.value) == (
        "A and B: found two galleries, 2 images are in A's alone and 0 in B's; allowed: one "
        "gallery, or the figures mean different things; give both the same data, split and seed "
        "(train.seed draws another training alone)"
    )


def test_other_classes_of_an_image_are_refused(tmp_path: Path) -> None:
    names = ["cup", "bowl", "vase"]
    a = read_test_set(write(tmp_path / "a", IMAGES, names, "bc"))
    b = read_test_set(write(tmp_path / "b", IMAGES | {"b": ["cup"]}, names, "bc"))
    with pytest.raises(UserError) as error:
        check_comparable(a, b)
    assert str(error.value) == (
        "A and B: found other classes for 1 images, the first is 'b': bowl + cup in A, cup in B; "
        "allowed: one catalog"
    )
