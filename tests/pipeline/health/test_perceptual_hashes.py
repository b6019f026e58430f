"""On real photographs: copies differ in few bits and little in color; other images in many."""

import io
import math
import statistics

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from pipeline.health.perceptual_hashes import (
    COLOR_TOLERANCE,
    agree_in_color,
    count_differing_bits,
    hash_images,
)


@pytest.fixture(scope="module")
def images() -> dict[str, Image.Image]:
    """Return the quarters of two photographs, one of a temple and one of a flower."""
    quarters = {}
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        whole = Image.fromarray(pixels)
        width, height = whole.width // 2, whole.height // 2
        for x in (0, 1):
            for y in (0, 1):
                box = (x * width, y * height, (x + 1) * width, (y + 1) * height)
                quarters[f"{name} {x} {y}"] = whole.crop(box)
    return quarters


def jpeg(image: Image.Image) -> Image.Image:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=40)
    return Image.open(encoded)


COPIES = {
    "of the same pixels": lambda image: image.copy(),
    "in JPEG of low quality": jpeg,
    "of seven tenths the size": lambda image: image.resize(
        (image.width * 7 // 10, image.height * 7 // 10)
    ),
    "a little brighter": lambda image: image.point(lambda value: min(255, int(value * 1.08))),
}
OTHER_COLORS = {
    "in grey": lambda image: image.convert("L"),
    "with hues rotated by a third": lambda image: rotate_hues(image, 85),
}


def rotate_hues(image: Image.Image, by: int) -> Image.Image:
    """Return the image with every hue changed by `by` of 256."""
    hue, saturation, value = image.convert("HSV").split()
    rotated = hue.point(lambda level: (level + by) % 256)
    return Image.merge("HSV", (rotated, saturation, value)).convert("RGB")


@pytest.mark.parametrize("how", COPIES | OTHER_COLORS)
def test_a_copy_differs_in_few_bits_and_a_recolored_one_in_colors(
    images: dict[str, Image.Image], how: str
) -> None:
    # The temple has hardly any color to lose.
    ids = [name for name in images if how in COPIES or name.startswith("flower")]
    change = (COPIES | OTHER_COLORS)[how]
    copies = {image_id: change(image) for image_id, image in images.items()}
    one, other = (hash_images(ids, each.__getitem__) for each in (images, copies))
    differing = count_differing_bits(one.bits, other.bits)
    assert differing.max() <= (0 if how == "of the same pixels" else 10)
    assert agree_in_color(one.colors, other.colors).tolist() == [how in COPIES] * len(ids)


def test_a_red_and_a_blue_mug_differ_only_in_colors() -> None:
    mugs = {"red": (190, 40, 40), "blue": (40, 60, 190), "red again": (180, 44, 40)}
    images = {}
    for name, color in mugs.items():
        images[name] = Image.new("RGB", (120, 120), "white")
        ImageDraw.Draw(images[name]).ellipse((50, 40, 80, 90), fill=color)
    found = hash_images(list(mugs), images.__getitem__)
    red, others = np.array([0, 0]), np.array([1, 2])
    assert count_differing_bits(found.bits[red], found.bits[others]).tolist() == [0, 0]
    assert agree_in_color(found.colors[red], found.colors[others]).tolist() == [False, True]


def test_each_cell_of_an_image_has_its_mean_color() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    (colors,) = hash_images(["p"], lambda _: Image.fromarray(pixels)).colors
    for down in range(8):
        for across in range(8):
            cell = pixels[3 * down : 3 * down + 3, 5 * across : 5 * across + 5]
            assert np.abs(colors[down, across] - cell.mean(axis=(0, 1))).max() <= 1


@pytest.mark.parametrize("place", [(0, 0, 0), (7, 7, 2), (3, 5, 1)])
def test_one_cell_decides_whether_colors_agree(place: tuple[int, int, int]) -> None:
    one = np.full((1, 8, 8, 3), 200, np.uint8)
    for difference in (
        -COLOR_TOLERANCE,
        COLOR_TOLERANCE,
        -COLOR_TOLERANCE - 1,
        COLOR_TOLERANCE + 1,
    ):
        other = one.copy()
        other[0, *place] = 200 + difference
        assert agree_in_color(one, other).tolist() == [abs(difference) <= COLOR_TOLERANCE]
        assert agree_in_color(other, one).tolist() == [abs(difference) <= COLOR_TOLERANCE]


def test_other_images_differ_in_many_bits(images: dict[str, Image.Image]) -> None:
    hashes = hash_images(list(images), images.__getitem__).bits
    for place in range(1, len(hashes)):
        assert count_differing_bits(hashes[:-place], hashes[place:]).min() > 14


def test_the_bits_equal_their_definition(images: dict[str, Image.Image]) -> None:
    ids = [image_id for image_id in images if image_id.endswith("0")]
    hashes = hash_images(ids, images.__getitem__).bits
    for image_id, found in zip(ids, hashes, strict=True):
        assert int(found) == hash_slowly(images[image_id])
        assert f"{int(found):016x}" == str(imagehash.phash(images[image_id]))


def hash_slowly(image: Image.Image) -> int:
    """The lowest 8 x 8 frequencies of 32 x 32 grey pixels, each summed, against their median."""
    small = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=float)
    waves = [[math.cos(math.pi * k * (2 * n + 1) / 64) for n in range(32)] for k in range(8)]
    strengths = [
        sum(waves[down][y] * waves[across][x] * grey[y][x] for y in range(32) for x in range(32))
        for down in range(8)
        for across in range(8)
    ]
    middle = statistics.median(strengths)
    return int("".join("1" if strength > middle else "0" for strength in strengths), 2)


def test_hashes_are_in_the_order_of_the_image_ids(images: dict[str, Image.Image]) -> None:
    ids = list(images)
    forward, backward = (hash_images(each, images.__getitem__) for each in (ids, ids[::-1]))
    assert forward.bits.dtype == np.uint64
    assert forward.bits.tolist() == backward.bits[::-1].tolist()
    assert forward.colors.tolist() == backward.colors[::-1].tolist()
    assert len(set(forward.bits.tolist())) == len(ids)
    none = hash_images([], images.__getitem__)
    assert (none.bits.shape, none.colors.shape) == ((0,), (0, 8, 8, 3))


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), max_size=5))
def test_differing_bits_are_counted(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array([pair[side] for pair in pairs], np.uint64) for side in (0, 1))
    expected = [(one ^ other).bit_count() for one, other in pairs]
    assert count_differing_bits(left, right).tolist() == expected
