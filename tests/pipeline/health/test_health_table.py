"""The table of facts: exact and near groups are named by their first image."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.data.tables import HEALTH
from pipeline.health.health_table import build_health_table
from pipeline.health.image_facts import describe_image
from tests.helpers.image_columns import columns_of

Photograph = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def build(images: dict[str, Image.Image]) -> pa.Table:
    facts = columns_of([describe_image(image) for image in images.values()])
    table = build_health_table(list(images), facts)
    assert table.schema == pa.schema(HEALTH.columns)
    return table


def groups(table: pa.Table) -> dict[str, tuple[str | None, str | None]]:
    return {row["image_id"]: (row["exact_group"], row["near_group"]) for row in table.to_pylist()}


def test_groups_are_named_by_their_first_image(photographs: list[Image.Image]) -> None:
    temple, flower = photographs
    images = {
        "0": Image.new("RGB", (60, 40), "white"),
        "a": flower,
        "b": temple,
        "c": temple.copy(),
        "d": temple.resize((320, 214)),
        "e": flower.copy(),
        "f": temple.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    assert groups(build(images)) == {
        "0": (None, None),
        # The flowers have the same pixels, so they are exact duplicates and no more.
        "a": ("a", None),
        "b": ("b", "b"),
        "c": ("b", "b"),
        "d": (None, "b"),
        "e": ("a", None),
        "f": (None, None),
    }


def test_blank_images_are_no_near_duplicates() -> None:
    shades = {f"{n}": Image.new("RGB", (60, 40), (200 + n, 200, 200)) for n in range(3)}
    assert set(groups(build(shades)).values()) == {(None, None)}
    same = {name: Image.new("RGB", (60, 40), "white") for name in "ab"}
    assert groups(build(same)) == {"a": ("a", None), "b": ("a", None)}


def test_without_images_the_table_is_empty() -> None:
    assert len(build({})) == 0


def test_facts_are_columns(photographs: list[Image.Image]) -> None:
    facts = describe_image(photographs[0])
    (row,) = build({"a": photographs[0]}).to_pylist()
    assert row["pixels"] == facts.pixels
    assert row["perceptual_hash"] == facts.perceptual_hash
    assert np.isclose(row["sharpness"], facts.sharpness)
    assert row["color_range"] == facts.color_range
