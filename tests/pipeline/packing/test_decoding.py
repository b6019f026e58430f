"""One image: its bytes stay as they came unless a box or max_side changes it."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.data.shards import decode
from pipeline.datasets.source_image import SourceImage
from pipeline.packing.decoding import PreparedImage, prepare_image

Box = tuple[int, int, int, int]
FORMATS = ["JPEG", "PNG", "WEBP", "BMP"]


def encoded(kind: str, *, size: tuple[int, int] = (40, 20), **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def prepared(
    content: bytes, *, box: Box | None = None, max_side: int | None = None
) -> PreparedImage:
    image = SourceImage(path="p", labels=("a",), read=lambda: content, box=box)
    return prepare_image(image, max_side=max_side)


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
    assert rejected.reason == "box (40, 0, 50, 10) is outside its 40 x 20 pixels"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_image_is_rejected(kind: str, share: float) -> None:
    content = encoded(kind, size=(64, 64))
    rejected = prepared(content[: int(len(content) * share)])
    assert rejected.reason
    assert "\n" not in rejected.reason
    assert rejected.encoded == b""


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff"])
def test_what_is_no_image_is_rejected(content: bytes) -> None:
    assert prepared(content).reason == "not an image that Pillow can identify"


@pytest.mark.parametrize("pixels", [100_000_000, 1_000_000_000])
def test_a_decompression_bomb_is_rejected(pixels: int) -> None:
    out = io.BytesIO()
    Image.new("1", (pixels // 10_000, 10_000)).save(out, "PNG")
    reason = prepared(out.getvalue()).reason
    assert reason is not None
    assert "decompression bomb" in reason


def test_a_file_that_is_gone_is_rejected(tmp_path: Path) -> None:
    read: Callable[[], bytes] = partial(Path.read_bytes, tmp_path / "gone.jpg")
    image = SourceImage(path="gone.jpg", labels=("a",), read=read)
    assert prepare_image(image, max_side=None).reason == "No such file or directory"
