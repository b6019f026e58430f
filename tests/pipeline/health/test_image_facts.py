"""The facts of one image: by hand, against slow loops, and on photographs."""

import io
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.data.decoding import decode
from pipeline.health import image_facts
from pipeline.health.image_facts import (
    describe_image,
    digest_pixels,
    measure_color_range,
    measure_sharpness,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_images().images[0])


def test_the_same_pixels_in_any_file_have_one_digest(photograph: Image.Image) -> None:
    small = photograph.resize((90, 60))
    sideways = Image.Exif()
    sideways[0x0112] = 6
    turned = small.transpose(Image.Transpose.ROTATE_90)
    files = [
        encoded(small, "PNG"),
        encoded(small, "BMP"),
        encoded(small, "WEBP", lossless=True),
        encoded(turned, "PNG", exif=sideways),
    ]
    assert len({digest_pixels(decode(each)) for each in files}) == 1


def test_another_pixel_or_shape_has_another_digest() -> None:
    image = Image.new("RGB", (6, 4))
    others = [image.resize((4, 6)), image.resize((12, 2)), image.copy()]
    others[2].putpixel((5, 3), (0, 0, 1))
    assert len({digest_pixels(each) for each in [image, *others]}) == 4


@pytest.mark.parametrize("strip_bytes", [1, 100, 10**6])
def test_strips_do_not_change_the_digest(
    strip_bytes: int, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digest_pixels(photograph)
    monkeypatch.setattr(image_facts, "STRIP_BYTES", strip_bytes)
    assert digest_pixels(photograph) == expected


@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_sharpness_is_the_variance_of_the_laplacian(
    grey: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]",
) -> None:
    values = grey.tolist()
    laplacian = [
        values[y - 1][x] + values[y + 1][x] + values[y][x - 1] + values[y][x + 1] - 4 * values[y][x]
        for y, x in product(range(1, len(values) - 1), range(1, len(values[0]) - 1))
    ]
    expected = float(np.var(laplacian)) if laplacian else 0.0
    assert measure_sharpness(Image.fromarray(grey)) == pytest.approx(expected)


def test_a_large_photograph_is_as_sharp_as_a_network_sees_it() -> None:
    flower = Image.fromarray(load_sample_images().images[1])
    seen = flower.resize((256, 171), Image.Resampling.BOX)
    found = describe_image(flower).sharpness
    assert found == pytest.approx(measure_sharpness(seen), rel=0.05)
    assert found > 1.9 * measure_sharpness(flower)


def test_the_range_is_that_of_the_color_that_varies_most() -> None:
    image = Image.new("RGB", (64, 64), (10, 20, 30))
    image.paste((14, 25, 130), (0, 0, 32, 64))
    assert measure_color_range(image) == 100


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (3000, 1)])
def test_an_image_of_any_shape_has_facts(size: tuple[int, int]) -> None:
    facts = describe_image(Image.new("RGB", size, "red"))
    assert (facts.color_range, facts.sharpness, len(facts.colors)) == (0, 0.0, 192)
