"""The thresholds, by their values: images on both sides of each, close to it."""

from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from pipeline.data.decoding import decode
from pipeline.health.health_table import build_health_table
from pipeline.health.image_facts import describe_image
from pipeline.health.image_faults import IMAGE_FAULTS
from tests.helpers.encoded_images import encode
from tests.helpers.image_columns import columns_of

SMALL, BLANK, BLURRED = "very small (a side under 32 px)", "blank (nearly one color)", "blurred"


@pytest.fixture(scope="module")
def temple() -> Image.Image:
    return Image.fromarray(load_sample_images().images[0])


def faults(image: Image.Image) -> list[str]:
    facts = describe_image(image)
    row = asdict(facts) | {"width": image.width, "height": image.height}
    return [what for what, is_fault in IMAGE_FAULTS.items() if is_fault(row)]


@pytest.mark.parametrize(
    ("size", "found"),
    [((32, 32), []), ((31, 200), [SMALL]), ((200, 31), [SMALL]), ((31, 31), [SMALL])],
)
def test_an_image_is_small_by_its_shorter_side(
    temple: Image.Image, size: tuple[int, int], found: list[str]
) -> None:
    assert faults(temple.resize(size)) == found


# By a Gaussian of some of 256 pixels: the sharpness is 1951, 21, 13; 8.7, 3.5.
@pytest.mark.parametrize(
    ("pixels", "found"), [(0, []), (1.5, []), (1.75, []), (2, [BLURRED]), (3, [BLURRED])]
)
@pytest.mark.parametrize("enlarged", [1, 6])
def test_a_photograph_is_blurred_as_a_network_sees_it(
    temple: Image.Image, pixels: float, found: list[str], enlarged: int
) -> None:
    blurred = temple.resize((256, 171)).filter(ImageFilter.GaussianBlur(pixels))
    width, height = blurred.size
    large = blurred.resize((width * enlarged, height * enlarged), Image.Resampling.NEAREST)
    assert faults(large) == found


@pytest.mark.parametrize(("levels", "is_blank"), [(0, True), (10, True), (11, False), (60, False)])
@pytest.mark.parametrize("color", [0, 1, 2])
def test_an_image_is_blank_by_the_range_of_one_color(
    levels: int, is_blank: bool, color: int
) -> None:
    pixels = np.full((64, 64, 3), 100, np.uint8)
    pixels[:32, :, color] += np.uint8(levels)
    assert (BLANK in faults(Image.fromarray(pixels))) == is_blank


def test_the_noise_of_a_scanned_page_is_blank_and_a_stroke_on_it_is_not() -> None:
    rng = np.random.default_rng(0)
    paper = (230 + rng.normal(0, 6, (300, 400, 3))).clip(0, 255).astype(np.uint8)
    scan = decode(encode("JPEG", Image.fromarray(paper), quality=60))
    assert faults(scan) == [BLANK]
    scan.paste((20, 20, 20), (100, 100, 104, 160))  # a stroke of four pixels
    assert BLANK not in faults(scan)


def are_near(one: Image.Image, other: Image.Image) -> bool:
    facts = columns_of([describe_image(one), describe_image(other)])
    table = build_health_table(["a", "b"], facts)
    return table["near_group"].to_pylist() == ["a", "a"]


# Of 64 bits, 6, 6 and 8, 12 differ; the colors of a cell by 28 and less.
@pytest.mark.parametrize(
    ("box", "near"),
    [
        ((0, 4, 640, 427), True),
        ((0, 12, 640, 427), True),
        ((0, 16, 640, 427), False),
        ((0, 0, 640, 411), False),
    ],
)
def test_near_duplicates_by_their_shapes(
    temple: Image.Image, box: tuple[int, int, int, int], near: bool
) -> None:
    assert are_near(temple, temple.crop(box)) == near


@pytest.mark.parametrize(("brighter", "near"), [(20, True), (39, True), (41, False), (80, False)])
def test_near_duplicates_by_their_colors(temple: Image.Image, brighter: int, near: bool) -> None:
    dark = temple.point(lambda level: level // 2 + 20)
    assert are_near(dark, dark.point(lambda level: level + brighter)) == near
