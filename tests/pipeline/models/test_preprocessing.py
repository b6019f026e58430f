"""What of a picture the network sees: its centre square, or all of it."""

import numpy as np
from PIL import Image

from pipeline.models.preprocessing import fit, fit_whole

MEAN = (0.5, 0.25, 0.75)
GROUND = [128, 64, 191]


def wide() -> Image.Image:
    """Return a white picture of 80 x 40 pixels whose left and right ends are red and blue."""
    picture = Image.new("RGB", (80, 40), "white")
    picture.paste("red", (0, 0, 15, 40))
    picture.paste("blue", (65, 0, 80, 40))
    return picture


def test_the_centre_square_has_none_of_the_ends() -> None:
    assert np.unique(fit(wide(), 20, "bilinear")).tolist() == [255]


def test_the_whole_picture_has_both_ends_and_bars_of_the_mean_colour() -> None:
    pixels = fit_whole(wide(), 20, "bilinear", mean=MEAN)
    assert (pixels.shape, pixels.dtype) == ((20, 20, 3), np.uint8)
    for bar in (pixels[:5], pixels[15:]):
        assert (bar == GROUND).all()
    assert pixels[10, [0, 10, 19]].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_a_tall_picture_has_its_bars_at_the_sides() -> None:
    pixels = fit_whole(wide().transpose(Image.Transpose.ROTATE_90), 20, "bilinear", mean=MEAN)
    assert (pixels[:, :5] == GROUND).all()
    assert (pixels[:, 5:15] != GROUND).any(axis=2).all()
