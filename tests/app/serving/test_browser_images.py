"""Images of the catalog in formats that browsers show."""

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
def test_formats_that_browsers_show_keep_their_bytes(kind: str) -> None:
    packed = encoded(kind)
    encoded_image = encode_for_browser(packed, max_side=None)
    assert (encoded_image.encoded, encoded_image.media_type) == (packed, f"image/{kind.lower()}")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "AVIF"])
def test_other_formats_become_a_jpeg_of_the_same_size(kind: str) -> None:
    encoded_image = encode_for_browser(encoded(kind), max_side=None)
    assert encoded_image.media_type == "image/jpeg"
    with Image.open(io.BytesIO(encoded_image.encoded)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (64, 48))


def test_only_images_of_many_bytes_are_shrunk() -> None:
    large, small = encoded("PNG", (400, 200)), encoded("PNG")
    assert len(small) < SMALL_BYTES < len(large)
    with Image.open(io.BytesIO(encode_for_browser(large, max_side=100).encoded)) as shown:
        assert shown.size == (100, 50)
    assert encode_for_browser(small, max_side=16).encoded == small
