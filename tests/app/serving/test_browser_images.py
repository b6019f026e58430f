"""Packed images as a browser gets them."""

import io

import numpy as np
import pytest
from PIL import Image

from app.serving.browser_images import SMALL_BYTES, encode_for_browser


def encoded(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_what_a_browser_shows_keeps_its_bytes(kind: str) -> None:
    packed = encoded(kind)
    tile = encode_for_browser(packed, side=None)
    assert (tile.encoded, tile.media_type) == (packed, f"image/{kind.lower()}")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "PPM"])
def test_what_a_browser_may_not_show_becomes_a_jpeg_of_its_size(kind: str) -> None:
    tile = encode_for_browser(encoded(kind), side=None)
    assert tile.media_type == "image/jpeg"
    with Image.open(io.BytesIO(tile.encoded)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (64, 48))


def test_only_what_has_many_bytes_is_shrunk() -> None:
    large, small = encoded("PNG", (400, 200)), encoded("PNG")
    assert len(small) < SMALL_BYTES < len(large)
    with Image.open(io.BytesIO(encode_for_browser(large, side=100).encoded)) as shown:
        assert shown.size == (100, 50)
    assert encode_for_browser(small, side=16).encoded == small
