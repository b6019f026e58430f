"""Untrusted images: decoded, or an error of one line."""

import os
from pathlib import Path

import numpy as np
import pytest

from app.searching.untrusted_images import (
    MAX_BYTES,
    decode_photo,
    find_photos,
    read_photo,
)
from pipeline.errors import UserError, escape_unprintable
from tests.helpers.encoded_images import FORMATS, SIZE, encode, header_of, photograph


def decode_error(data: bytes) -> str:
    with pytest.raises(UserError) as error:
        decode_photo(data, name="a.jpg")
    return str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_photo_is_decoded(kind: str) -> None:
    image = decode_photo(encode(kind), name="a")
    assert (image.mode, image.size) == ("RGB", SIZE)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_photo_that_cannot_be_decoded_is_an_error_of_one_line() -> None:
    allowed = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC"
    assert decode_error(b"") == f"a.jpg: empty; allowed: an image ({allowed})"
    assert decode_error(b"hello, world") == f"a.jpg: not an image; allowed: {allowed}"
    assert decode_error(encode("PNG")[:-200]) == (
        "a.jpg: damaged (image file is truncated); give the whole image"
    )
    assert decode_error(header_of("PNG", 10_100, 10_000)) == (
        "a.jpg: too many pixels (10100 x 10000); allowed: at most 100 million; "
        "make the image smaller"
    )


def test_too_many_bytes_are_refused_before_decoding() -> None:
    assert decode_error(bytes(MAX_BYTES + 2**19)) == (
        "a.jpg: found 32.5 MiB; allowed: at most 32 MiB; make the image smaller"
    )


def test_the_error_begins_with_the_path(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encode("PNG"))
    bad.write_bytes(b"")
    assert np.array_equal(read_photo(good), photograph())
    for path, reason in {
        bad: "empty; allowed: an image (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC)",
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
    assert str(error.value).startswith(f"{tmp_path}/\\udcff a\\nb.jpg: empty; ")
    for kept in (
        "Größe 日本.jpg",
        "Bildschirmfoto\u202f10\xa0Uhr\u3000.jpg",
    ):  # as macOS names them
        assert escape_unprintable(kept) == kept


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
    for name in ("a.jpg", "b.psd", "c.PSD", "d.dng"):
        (tmp_path / name).touch()
    assert find_photos([tmp_path]) == [tmp_path / "a.jpg"]
    assert caplog.messages == [
        f"{tmp_path}: left out 1 .dng, 2 .psd; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, "
        "HEIC; convert them"
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
        f"{tmp_path}: found no images; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC; put "
        "some there"
    )
