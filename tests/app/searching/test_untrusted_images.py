"""Untrusted images: decoded, or an error of one line."""

import io
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from app.searching.untrusted_images import (
    MAX_BYTES,
    MAX_PIXELS,
    decode_photo,
    escape_unprintable,
    find_photos,
    ignore_pillow_size_warnings,
    read_photo,
)
from pipeline.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS).resize((40, 30), Image.Resampling.BICUBIC)


def encoded(kind: str, image: Image.Image = IMAGE, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def heic(image: Image.Image = IMAGE) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=95)
    return out.getvalue()


def decode_error(data: bytes) -> str:
    with pytest.raises(UserError) as error:
        decode_photo(data, name="a.jpg")
    return str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_common_formats_are_decoded(kind: str) -> None:
    image = decode_photo(encoded(kind), name="a")
    assert (image.mode, image.size) == ("RGB", IMAGE.size)
    difference = np.abs(np.asarray(image, np.int16) - np.asarray(IMAGE, np.int16))
    assert difference.mean() < 12


def test_heic_is_decoded() -> None:
    image = decode_photo(heic(), name="a.heic")
    assert (image.mode, image.size) == ("RGB", IMAGE.size)
    difference = np.abs(np.asarray(image, np.int16) - np.asarray(IMAGE, np.int16))
    assert difference.mean() < 12


def test_exif_rotation_is_applied_and_transparency_becomes_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    turned = decode_photo(encoded("PNG", exif=exif), name="a")
    assert np.array_equal(turned, IMAGE.transpose(Image.Transpose.ROTATE_270))
    clear = Image.new("RGBA", (3, 2), (9, 9, 9, 0))
    assert decode_photo(encoded("PNG", clear), name="a").getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_not_clipped(kind: str) -> None:
    deep = np.linspace(0, 2**16 - 1, 48).reshape(6, 8).astype(np.uint16)
    image = decode_photo(encoded(kind, Image.fromarray(deep)), name="a")
    assert np.array_equal(np.asarray(image)[:, :, 0], deep // 257)


def test_a_file_that_is_not_an_image_is_an_error_of_one_line() -> None:
    allowed = "allowed: JPEG, PNG, WebP, BMP, HEIC"
    assert (
        decode_error(b"")
        == "a.jpg: the file is empty; allowed: an image (JPEG, PNG, WebP, BMP, HEIC)"
    )
    assert decode_error(b"hello, world") == f"a.jpg: not an image; {allowed}"
    # Pillow would start another program to read it.
    assert decode_error(encoded("EPS")) == f"a.jpg: not an image; {allowed}"
    assert decode_error(encoded("PDF")) == f"a.jpg: not an image; {allowed}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_damaged(kind: str) -> None:
    whole = encoded(kind)
    message = decode_error(whole[: len(whole) * 2 // 3])
    assert message.startswith("a.jpg: damaged (")
    assert message.endswith("); give the whole image")
    assert "\n" not in message


def test_a_truncated_heic_is_an_error_too() -> None:
    assert decode_error(heic()[:200]).startswith(("a.jpg: damaged (", "a.jpg: not an image; "))


def test_too_many_bytes_are_refused_before_decoding() -> None:
    assert decode_error(bytes(MAX_BYTES + 2**19)) == (
        "a.jpg: found 32.5 MiB; allowed: at most 32 MiB; make the image smaller"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("side", "found"),
    [(10_100, "10100 x 10100 pixels"), (60_000, "far too many pixels")],
)
def test_too_many_pixels_are_refused_by_the_header(side: int, found: str) -> None:
    assert side**2 > MAX_PIXELS
    ignore_pillow_size_warnings()
    assert decode_error(png_header(side)) == (
        f"a.jpg: found {found}; allowed: at most 100 million; make the image smaller"
    )


def test_decoding_does_not_change_the_warning_filters_that_threads_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("catch_warnings", "simplefilter", "filterwarnings"):
        monkeypatch.setattr(warnings, name, raise_changed)
    assert decode_photo(encoded("PNG"), name="a").size == IMAGE.size


def raise_changed(*_: object, **__: object) -> None:
    raise AssertionError("the warning filters were changed")


def png_header(side: int) -> bytes:
    """Return a PNG whose header gives a large size, without any pixels."""
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    parts = b""
    for name, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        check = zlib.crc32(name + body).to_bytes(4, "big")
        parts += len(body).to_bytes(4, "big") + name + body + check
    return b"\x89PNG\r\n\x1a\n" + parts


def test_the_error_begins_with_the_path(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded("PNG"))
    bad.write_bytes(b"")
    assert np.array_equal(read_photo(good), IMAGE)
    for path, reason in {
        bad: "the file is empty; allowed: an image (JPEG, PNG, WebP, BMP, HEIC)",
        tmp_path / "none.png": "cannot be read (No such file or directory)",
        tmp_path: "cannot be read (Is a directory)",
    }.items():
        with pytest.raises(UserError) as error:
            read_photo(path)
        assert str(error.value) == f"{path}: {reason}"


def test_a_file_name_of_any_bytes_becomes_one_line_of_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff a\nb.jpg")
    path.write_bytes(b"")
    with pytest.raises(UserError) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{tmp_path}/\\udcff a\\nb.jpg: the file is empty")
    assert escape_unprintable("Größe 日本.jpg") == "Größe 日本.jpg"


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UserError) as error:
        read_photo(tmp_path / "a.jpg")
    assert str(error.value) == (
        f"{tmp_path}/a.jpg: not a file; allowed: image files, and folders of them"
    )


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as out:
        out.truncate(40 * 2**30)  # sparse: it takes no space on disk
    with pytest.raises(UserError) as error:
        read_photo(path)
    assert (
        str(error.value)
        == f"{path}: found 40,960.0 MiB; allowed: at most 32 MiB; make the image smaller"
    )


def test_folders_are_searched_and_files_are_kept_whatever_they_hold(tmp_path: Path) -> None:
    names = ["b.JPG", "a.heic", "deep/c.bmp", "notes.txt", ".hidden.jpg", ".cache/d.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = tmp_path / "notes.txt"
    searched = [tmp_path / name for name in ("a.heic", "b.JPG", "deep/c.bmp")]
    assert find_photos([tmp_path, text, tmp_path / "a.heic"]) == [*searched, text]


def test_images_of_a_folder_in_other_formats_are_logged_by_suffix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jpg", "b.gif", "c.GIF", "d.tif"):
        (tmp_path / name).touch()
    assert find_photos([tmp_path]) == [tmp_path / "a.jpg"]
    assert caplog.messages == [
        f"{tmp_path}: left out 2 .gif, 1 .tif; allowed: .jpg, .jpeg, .png, .webp, .bmp, .heic, "
        ".heif; convert them"
    ]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        find_photos([tmp_path / "none.jpg"])
    assert str(error.value) == (
        f"{tmp_path}/none.jpg: no such file; allowed: image files, and folders of them"
    )


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError) as error:
        find_photos([tmp_path])
    assert str(error.value) == (
        f"{tmp_path}: found no images; allowed: files that end in .jpg, .jpeg, .png, .webp, "
        ".bmp, .heic or .heif"
    )
