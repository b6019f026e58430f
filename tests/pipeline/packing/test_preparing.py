"""One image: its bytes stay as they came unless a box or max_side changes it."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.data import decoding
from pipeline.data.decoding import decode
from pipeline.packing import preparing
from pipeline.packing.preparing import PreparedImage, prepare_image
from tests.helpers.encoded_images import header_of

Box = tuple[int, int, int, int]
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"]


def encoded(kind: str, *, size: tuple[int, int] = (40, 20), **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def prepared(
    content: bytes, *, box: Box | None = None, max_side: int | None = None
) -> PreparedImage:
    return prepare_image(content, box=box, max_side=max_side)


def sideways() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    return encoded("JPEG", exif=exif)


def kind_of(content: bytes) -> str | None:
    return Image.open(io.BytesIO(content)).format


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("max_side", [None, 40])
def test_bytes_stay_as_they_came(kind: str, max_side: int | None) -> None:
    content = encoded(kind)
    assert prepared(content, max_side=max_side) == PreparedImage(content, 40, 20)


def test_heic_becomes_jpeg() -> None:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (40, 20), "teal")).save(out)
    jpeg = prepared(out.getvalue())
    assert (kind_of(jpeg.encoded), jpeg.width, jpeg.height) == ("JPEG", 40, 20)
    teal = np.asarray(decode(jpeg.encoded), dtype=int)
    assert np.abs(teal - (0, 128, 128)).max() <= 3


def test_size_is_that_of_the_upright_image() -> None:
    content = sideways()
    assert prepared(content) == PreparedImage(content, 20, 40)


@pytest.mark.parametrize("kind", FORMATS)
def test_max_side_shrinks_the_longer_side(kind: str) -> None:
    small = prepared(encoded(kind), max_side=10)
    assert (small.width, small.height) == (10, 5) == decode(small.encoded).size
    assert kind_of(small.encoded) == ("PNG" if kind == "PNG" else "JPEG")


def test_a_sliver_keeps_one_pixel() -> None:
    small = prepared(encoded("PNG", size=(100, 1)), max_side=10)
    assert (small.width, small.height) == (10, 1)


def test_a_shrunk_image_is_stored_upright() -> None:
    small = prepared(sideways(), max_side=20)
    assert (small.width, small.height) == (10, 20) == Image.open(io.BytesIO(small.encoded)).size


def test_a_box_is_cut_from_the_upright_image() -> None:
    content = encoded("PNG")
    cut = prepared(content, box=(5, 2, 15, 12))
    assert (cut.width, cut.height) == (10, 10)
    expected = np.asarray(decode(content))[2:12, 5:15]
    np.testing.assert_array_equal(np.asarray(decode(cut.encoded)), expected)
    assert prepared(sideways(), box=(0, 0, 20, 30)).height == 30


def test_a_box_is_clipped_to_the_image() -> None:
    assert prepared(encoded("PNG"), box=(30, 0, 99, 99)).width == 10
    content = encoded("JPEG")
    assert prepared(content, box=(0, 0, 40, 99)) == PreparedImage(content, 40, 20)


def test_a_box_outside_is_rejected() -> None:
    rejected = prepared(encoded("PNG"), box=(40, 0, 50, 10))
    assert rejected.reason == "box outside the image ((40, 0, 50, 10) of 40 x 20 pixels)"


REJECTED = {
    b"": "empty",
    b"hello": "not an image",
    b"\xff\xd8\xff": "damaged (its header cannot be read)",
    encoded("PNG")[:-200]: "damaged (image file is truncated)",
    header_of("PNG", 20_000, 10_000): "too many pixels (20000 x 10000)",
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("content", REJECTED)
def test_what_cannot_be_decoded_is_rejected(content: bytes) -> None:
    assert prepared(content) == PreparedImage(reason=REJECTED[content])


@pytest.mark.parametrize("kind", FORMATS)
def test_metadata_that_are_dropped_stay_in_the_stored_bytes(kind: str) -> None:
    broken = Image.Exif()
    broken[0x0112] = 6
    content = encoded(kind, exif=broken) + b"rubbish behind the image"
    stored = prepared(content)
    assert stored.encoded == content
    assert (stored.width, stored.height) == decode(content).size


def test_a_jpeg_of_too_many_pixels_is_shrunk_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = encoded("JPEG", size=(200, 100))
    whole = prepared(content, max_side=20)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 15_000)
    monkeypatch.setattr(preparing, "MAX_PIXELS", 15_000)
    small = prepared(content, max_side=20)
    assert (small.width, small.height) == (20, 10) == decode(small.encoded).size
    # The mean of each block of 8 x 8 in the one case, a Lanczos filter in both.
    difference = np.asarray(decode(small.encoded), int) - np.asarray(decode(whole.encoded), int)
    assert 0 < np.abs(difference).mean() < 10
    assert prepared(content, max_side=100).width == 100
    for max_side in (None, 150):
        assert prepared(content, max_side=max_side).reason == "too many pixels (200 x 100)"
    assert prepared(content, max_side=20, box=(0, 0, 9, 9)).reason == "too many pixels (200 x 100)"
    assert prepared(encoded("PNG", size=(200, 100)), max_side=20).reason is not None


def test_a_jpeg_that_is_decoded_at_max_side_is_stored_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = encoded("JPEG", size=(200, 100))
    monkeypatch.setattr(decoding, "MAX_PIXELS", 15_000)
    monkeypatch.setattr(preparing, "MAX_PIXELS", 15_000)
    assert decode(prepared(content, max_side=50).encoded).size == (50, 25)
