"""What is told of a dataset, word for word."""

import pyarrow as pa
import pytest

from pipeline.health.findings import Finding, find_in_images, find_leaks
from tests.helpers.dataset_tables import build_catalog, build_health, build_splits


def lines(findings: list[Finding]) -> list[str]:
    return [each.describe() for each in findings if each.groups]


def test_each_kind_of_image_is_a_line() -> None:
    ids = [f"{n}" for n in range(8)]
    catalog = build_catalog({image_id: [int(image_id) % 2] for image_id in ids})
    health = build_health(
        ids,
        exact=[("0", "2"), ("1", "4")],
        near=[("0", "2", "3", "6")],
        flat=["5"],
        blurred=["6", "7"],
    )
    sides = pa.array([31, 8, *[64] * 6], pa.int32())
    catalog = catalog.set_column(6, catalog.schema.field("height"), sides)
    catalog = catalog.set_column(5, catalog.schema.field("width"), pa.array([64] * 8, pa.int32()))
    assert lines(find_in_images(health, catalog)) == [
        "exact duplicates: 2 groups of 4 images, first '0', '2'; '1', '4'",
        "exact duplicates across classes: 1 group of 2 images, first '1', '4'",
        "near duplicates: 1 group of 4 images, first '0', '2' and 2 more",
        "near duplicates across classes: 1 group of 4 images, first '0', '2' and 2 more",
        "very small (a side under 32 px): 2 images, first '0'; '1'",
        "blank (nearly one color): 1 image, first '5'",
        "blurred: 2 images, first '6'; '7'",
    ]


def test_the_order_of_labels_and_of_rows_does_not_matter() -> None:
    health = build_health(["b", "a"], exact=[("a", "b")])
    catalog = build_catalog({"b": [0, 1], "a": [0, 1], "without pixels": [0]})
    small = "very small (a side under 32 px): 2 images, first 'a'; 'b'"
    assert lines(find_in_images(health, catalog)) == [
        "exact duplicates: 1 group of 2 images, first 'a', 'b'",
        small,
    ]


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        (["train", "train"], []),
        (["train", "val"], ["a", "b"]),
        (["test", "val"], ["a", "b"]),
        (["test", "test"], []),
        (["unused", "test"], []),
    ],
)
def test_a_leak_is_a_group_in_more_than_one_split(splits: list[str], told: list[str]) -> None:
    health = build_health(["a", "b"], exact=[("a", "b")])
    exact, near, unused = find_leaks(health, build_splits(dict(zip("ab", splits, strict=True))))
    assert exact == Finding("exact duplicates across train, val and test", [told] if told else [])
    assert not near.groups
    assert unused.groups == ([["a"]] if splits[0] == "unused" else [])


def test_images_that_are_unused_for_their_copies_are_told_but_no_others() -> None:
    health = build_health(["a", "b", "c", "d", "e"], exact=[("a", "b"), ("c", "d")])
    splits = {"a": "unused", "b": "test", "c": "unused", "d": "unused", "e": "unused"}
    assert lines(find_leaks(health, build_splits(splits))) == [
        "unused (an exact duplicate is in val or test): 1 image, first 'a'"
    ]
