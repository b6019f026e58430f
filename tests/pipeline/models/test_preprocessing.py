"""What of an image the network sees: its centre square, or all of it."""

import numpy as np
from PIL import Image

from pipeline.models.preprocessing import fit, fit_whole


def wide() -> Image.Image:
    """Return a white image of 80 x 40 pixels whose left and right ends are red and blue."""
    image = Image.new("RGB", (80, 40), "white")
    image.paste("red", (0, 0, 15, 40))
    image.paste("blue", (65, 0, 80, 40))
    return image


def test_the_centre_square_has_none_of_the_ends() -> None:
    assert np.unique(fit(wide(), 20, "bilinear")).tolist() == [255]


def test_the_whole_image_has_both_ends_and_its_mirror_image_above_and_below() -> None:
    pixels = fit_whole(wide(), 20, "bilinear")
    assert (pixels.shape, pixels.dtype) == ((20, 20, 3), np.uint8)
    assert pixels[10, [0, 10, 19]].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (10, 20, 3), dtype=np.uint8))
    whole = fit_whole(noise, 20, "nearest")
    assert np.array_equal(whole[5:15], noise)
    assert np.array_equal(whole[:5], whole[5:10][::-1])
    assert np.array_equal(whole[15:], whole[10:15][::-1])


def test_a_tall_image_is_mirrored_at_its_sides() -> None:
    tall = wide().transpose(Image.Transpose.ROTATE_90)
    turned = np.rot90(fit_whole(wide(), 20, "bilinear"))
    assert np.array_equal(fit_whole(tall, 20, "bilinear"), turned)


def test_a_strip_is_mirrored_as_often_as_it_takes() -> None:
    strip = Image.fromarray(np.arange(64, dtype=np.uint8).repeat(3).reshape(1, 64, 3))
    pixels = fit_whole(strip, 64, "bilinear")
    assert (pixels == pixels[0]).all()
    assert np.array_equal(fit_whole(Image.new("RGB", (500, 1)), 8, "bilinear"), np.zeros((8, 8, 3)))


def test_a_square_is_the_same_either_way() -> None:
    square = wide().crop((0, 0, 40, 40))
    assert np.array_equal(fit_whole(square, 20, "bilinear"), fit(square, 20, "bilinear"))
