"""The network's input: the centre square of an image or the whole image, scaled."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from pipeline.data.decoding import decode
from pipeline.models.preprocessing import (
    Preprocessing,
    least_side,
    normalize_pixels,
    resize_and_crop,
    resize_and_pad,
)


def wide() -> Image.Image:
    """Return a white image of 80 x 40 pixels whose left and right ends are red and blue."""
    image = Image.new("RGB", (80, 40), "white")
    image.paste("red", (0, 0, 15, 40))
    image.paste("blue", (65, 0, 80, 40))
    return image


def test_the_centre_square_has_none_of_the_ends() -> None:
    assert np.unique(resize_and_crop(wide(), 20, "bilinear")).tolist() == [255]


def test_the_whole_image_has_both_ends_and_is_reflected_above_and_below() -> None:
    pixels = resize_and_pad(wide(), 20, "bilinear")
    assert (pixels.shape, pixels.dtype) == ((20, 20, 3), np.uint8)
    assert pixels[10, [0, 10, 19]].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (10, 20, 3), dtype=np.uint8))
    whole = resize_and_pad(noise, 20, "nearest")
    assert np.array_equal(whole[5:15], noise)
    assert np.array_equal(whole[:5], whole[5:10][::-1])
    assert np.array_equal(whole[15:], whole[10:15][::-1])


def test_a_tall_image_is_reflected_at_its_sides() -> None:
    tall = wide().transpose(Image.Transpose.ROTATE_90)
    turned = np.rot90(resize_and_pad(wide(), 20, "bilinear"))
    assert np.array_equal(resize_and_pad(tall, 20, "bilinear"), turned)


def test_a_strip_is_reflected_until_the_square_is_full() -> None:
    strip = Image.fromarray(np.arange(64, dtype=np.uint8).repeat(3).reshape(1, 64, 3))
    pixels = resize_and_pad(strip, 64, "bilinear")
    assert (pixels == pixels[0]).all()
    assert np.array_equal(
        resize_and_pad(Image.new("RGB", (500, 1)), 8, "bilinear"), np.zeros((8, 8, 3))
    )


def test_a_square_image_is_neither_cropped_nor_padded() -> None:
    square = wide().crop((0, 0, 40, 40))
    assert np.array_equal(
        resize_and_pad(square, 20, "bilinear"), resize_and_crop(square, 20, "bilinear")
    )


def test_an_image_is_cropped_to_its_centre_square() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert np.array_equal(resize_and_crop(Image.fromarray(wide), 10, "bilinear"), wide[:, 10:20])
    assert resize_and_crop(Image.fromarray(wide), 7, "bicubic").shape == (7, 7, 3)


def test_pixels_are_scaled_by_mean_and_std() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalize_pixels(pixels, Preprocessing((0.5, 0.25, 0.0), (0.5, 0.25, 0.1)))
    expected = [(0 - 0.5) / 0.5, (128 / 255 - 0.25) / 0.25, 1 / 0.1]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_a_jpeg_decoded_at_the_least_side_is_resized_to_nearly_the_same_pixels(name: str) -> None:
    for pixels in load_sample_images().images:
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG")
        whole, side = decode(encoded.getvalue()), least_side(64)
        small = decode(encoded.getvalue(), least_size=(side, side))
        assert (whole.size, small.size) == ((640, 427), (320, 214))
        levels = [resize_and_crop(each, 64, name).astype(float) for each in (whole, small)]
        assert 0 < np.abs(levels[0] - levels[1]).mean() < 3


def test_the_smallest_crop_of_the_least_side_is_twice_the_input() -> None:
    assert least_side(224) == 448
    for share in (0.08, 0.6):
        side = least_side(100, share=share)
        image = torch.zeros(3, side, side)
        sizes = [
            min(
                v2.RandomResizedCrop.make_params(crop, [image])[name]
                for name in ("height", "width")
            )
            for crop in [v2.RandomResizedCrop(100, scale=(share, share))]
            for _ in range(200)
        ]
        assert 199 <= min(sizes) < 220, share
