"""The one decoder: all usual formats, whatever their metadata; and nothing else, ever."""

import ast
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image, ImageFile, PngImagePlugin

from pipeline.data import decoding
from pipeline.data.decoding import (
    FORMAT_NAMES,
    MAX_PIXELS,
    SUFFIXES,
    Header,
    UndecodableError,
    decode,
    is_image_file,
    read_header,
    to_upright_rgb,
)
from pipeline.data.other_suffixes import NO_IMAGES, OTHER_IMAGES
from tests.helpers.encoded_images import (
    FORMATS,
    LOSSLESS,
    SIZE,
    encode,
    exif_of,
    header_of,
    insert_chunk,
    insert_segment,
    insert_tags,
    photograph,
    png_chunk,
)
from tests.helpers.imports import parse, python_files
from tests.helpers.paths import ROOT, SHARED

# As `decode` does in a process without pytest, which resets the filters at each test.
pytestmark = pytest.mark.filterwarnings(
    "ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning:PIL"
)

Pixels = NDArray[np.uint8]
PHOTOGRAPH = np.asarray(photograph())


def is_near(image: Image.Image, expected: Pixels) -> bool:
    """Return whether an image is the expected one but for what a lossy format loses."""
    assert image.mode == "RGB"
    pixels = np.asarray(image, int)
    return pixels.shape == expected.shape and float(np.abs(pixels - expected).mean()) < 12


def refused(encoded: bytes, **options: tuple[int, int]) -> str:
    with pytest.raises(UndecodableError) as caught:
        decode(encoded, **options)
    return str(caught.value)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_decoded(kind: str) -> None:
    image = decode(encode(kind))
    assert is_near(image, PHOTOGRAPH)
    if kind in LOSSLESS:
        assert np.array_equal(image, PHOTOGRAPH)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_gives_format_and_size(kind: str) -> None:
    assert read_header(encode(kind)) == Header(kind, *SIZE)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_a_container_that_does_not_name_its_codec_is_decoded(kind: str) -> None:
    encoded = encode(kind)
    unnamed = encoded[:8] + b"mif1" + encoded[12:]
    assert read_header(unnamed).format == kind
    assert is_near(decode(unnamed), PHOTOGRAPH)


def test_a_jpeg_of_two_images_is_the_first_of_them() -> None:
    second = Image.new("RGB", SIZE, "red")
    both = encode("MPO", save_all=True, append_images=[second])
    assert read_header(both).format == "JPEG"
    assert is_near(decode(both), PHOTOGRAPH)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    more = [Image.new("RGB", SIZE, color) for color in ("red", "blue")]
    assert is_near(decode(encode(kind, save_all=True, append_images=more)), PHOTOGRAPH)


WMF = b"\xd7\xcd\xc6\x9a" + bytes(2) + struct.pack("<4hH", 0, 0, 40, 40, 72) + bytes(60)
EMF = b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60)
LOOP = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n{} loop\n"
OTHERS = {
    **{
        kind: encode(kind)
        for kind in ("EPS", "PDF", "PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "QOI")
    },
    "EPS that never ends": LOOP,
    "PostScript": LOOP.replace(b" EPSF-3.0", b""),
    "WMF": WMF,
    "EMF": EMF,
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "PSD": b"8BPS\0\x01" + bytes(60),
    "text": b"hello, world",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_refused_and_no_program_is_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ghostscript is taken for installed, as on many machines."""

    def run(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a program was run: {arguments}")

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    for function in ("Popen", "call", "check_call", "run"):
        monkeypatch.setattr(subprocess, function, run)
    with pytest.raises(UndecodableError) as caught:
        decode(OTHERS[name])
    assert str(caught.value) == "not an image"
    assert caught.value.advice == f"allowed: {FORMAT_NAMES}"


def test_no_bytes_are_empty() -> None:
    with pytest.raises(UndecodableError) as caught:
        decode(b"")
    assert str(caught.value) == "empty"
    assert caught.value.advice == (
        "allowed: an image (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC)"
    )


def test_this_is_the_only_place_where_images_are_opened() -> None:
    places = {
        path
        for path in python_files("pipeline", "stages", "app")
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open")
        or (isinstance(node, ast.ImportFrom) and "open" in {each.name for each in node.names})
        or (isinstance(node, ast.Attribute) and node.attr in {"imread", "decode_image"})
    }
    assert places == {Path("pipeline/data/decoding.py")}


# --- suffixes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_an_image_by_its_suffix(suffix: str, tmp_path: Path) -> None:
    assert is_image_file(tmp_path / f"a{suffix}")
    assert is_image_file(tmp_path / f"a{suffix.upper()}")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_a_suffix_is_an_image_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    for path, encoded in {"a": encode(kind), "a.txt": encode(kind), "b": b"text", "c": b""}.items():
        (tmp_path / path).write_bytes(encoded)
    found = [path.name for path in sorted(tmp_path.iterdir()) if is_image_file(path)]
    assert found == ["a"]


NAMES = ("scan 12.03.2021", "photo.jpg_large", "img.jpg~", "x.pjpeg", "a.jpg.1", "b.JPG (2)")


@pytest.mark.parametrize("name", NAMES)
def test_a_suffix_that_says_nothing_is_looked_into(name: str, tmp_path: Path) -> None:
    for content, is_image in ((encode("JPEG"), True), (b"a text", False)):
        (tmp_path / name).write_bytes(content)
        assert is_image_file(tmp_path / name) == is_image


@pytest.mark.parametrize("suffix", [".txt", ".part", ".mp4", ".dng", ".NEF", ".raw"])
def test_what_another_suffix_tells_is_not_looked_into(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(encode("TIFF"))
    assert not is_image_file(tmp_path / f"a{suffix}")


def test_no_suffix_is_in_two_lists() -> None:
    assert not OTHER_IMAGES & NO_IMAGES
    assert not (OTHER_IMAGES | NO_IMAGES) & set(SUFFIXES)


def test_what_is_no_file_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    assert [path for path in tmp_path.iterdir() if is_image_file(path)] == []


# --- orientation --------------------------------------------------------------------------------

# What each orientation makes of an array of rows, columns and colors.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda rows: rows,
    2: lambda rows: rows[:, ::-1],
    3: lambda rows: rows[::-1, ::-1],
    4: lambda rows: rows[::-1],
    5: lambda rows: rows.transpose(1, 0, 2),
    6: lambda rows: rows[::-1].transpose(1, 0, 2),
    7: lambda rows: rows[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rows: rows[:, ::-1].transpose(1, 0, 2),
}
# Entries of EXIF that no reader can make sense of: tag, type, number of values, value or place.
RUBBISH = {
    "nothing": b"",
    "negative resolution": struct.pack("<HHIi", 0x011A, 9, 1, -72),
    "place beyond the end": struct.pack("<HHII", 0x010F, 2, 99, 2**31),
    "unknown type": struct.pack("<HHII", 0x0110, 77, 1, 5),
    "too many values": struct.pack("<HHII", 0x011B, 5, 2**32 - 1, 8),
    "directory in itself": struct.pack("<HHII", 0x8769, 4, 1, 8),
    "directory of text": struct.pack("<HHI4s", 0x8825, 2, 4, b"text"),
}


@pytest.mark.parametrize("name", RUBBISH)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_jpeg_is_upright_whatever_else_is_in_its_exif(orientation: int, name: str) -> None:
    rubbish = [RUBBISH[name]] if RUBBISH[name] else []
    image = decode(encode("JPEG", exif=exif_of(orientation, *rubbish)))
    assert np.array_equal(image, UPRIGHT[orientation](np.asarray(decode(encode("JPEG")))))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_other_formats_are_upright_too(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encode(kind, exif=exif))
    assert is_near(image, UPRIGHT[orientation](PHOTOGRAPH))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    assert is_near(decode(encode("JPEG", exif=exif_of(orientation))), PHOTOGRAPH)


# --- broken and large metadata ------------------------------------------------------------------

JUNK = (b"junk", b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0", b"\0" * 5_000)
MEGABYTES = zlib.compress(bytes(2 * 2**20))
CHUNKS = {
    "large zTXt": png_chunk(b"zTXt", b"workflow\0\0" + MEGABYTES),
    "large iTXt": png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + MEGABYTES),
    "large iCCP": png_chunk(b"iCCP", b"profile\0\0" + MEGABYTES),
    "large tEXt": png_chunk(b"tEXt", b"workflow\0" + b"a" * (2 * 2**20)),
    "zTXt of an unknown method": png_chunk(b"zTXt", b"workflow\0\7text"),
    "iCCP of an unknown method": png_chunk(b"iCCP", b"profile\0\7profile"),
    "short pHYs": png_chunk(b"pHYs", b"\0"),
    "short gAMA": png_chunk(b"gAMA", b""),
    "wrong checksum": png_chunk(b"tEXt", b"a\0b")[:-4] + b"junk",
    "EXIF": png_chunk(b"eXIf", b"junk"),
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", CHUNKS)
def test_no_chunk_of_metadata_rejects_a_whole_png(name: str, before: bytes) -> None:
    png = insert_chunk(encode("PNG"), CHUNKS[name], before=before)
    assert np.array_equal(decode(png), PHOTOGRAPH)
    assert read_header(png) == Header("PNG", *SIZE)


def test_the_orientation_is_kept_beside_metadata_that_are_dropped() -> None:
    exif = png_chunk(b"eXIf", exif_of(6).removeprefix(b"Exif\0\0"))
    for wrong in (exif, exif[:-4] + b"junk"):
        png = insert_chunk(insert_chunk(encode("PNG"), CHUNKS["large iCCP"]), wrong)
        assert np.array_equal(decode(png), UPRIGHT[6](PHOTOGRAPH))


def test_the_transparency_is_kept_beside_metadata_that_are_dropped() -> None:
    palette = photograph().quantize(8)
    png = encode("PNG", palette, transparency=3)
    assert np.array_equal(decode(insert_chunk(png, CHUNKS["large zTXt"])), decode(png))


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_no_exif_rejects_a_whole_image(kind: str, junk: bytes) -> None:
    assert is_near(decode(encode(kind, exif=junk)), PHOTOGRAPH)


@pytest.mark.parametrize("turned", [1, 6])
def test_no_exif_rejects_a_whole_avif_or_loses_its_orientation(turned: int) -> None:
    exif = exif_of(turned, struct.pack("<HHI4s", 0x010F, 2, 4, b"mark"))
    whole = encode("AVIF", exif=exif)
    assert whole.count(b"II*\0") == 1
    assert is_near(decode(whole.replace(b"II*\0", b"junk")), UPRIGHT[turned](PHOTOGRAPH))


SEGMENTS = {
    "JFIF": (0xE0, b"JFIF\0"),
    "profile": (0xE2, b"ICC_PROFILE\0"),
    "images without places": (
        0xE2,
        b"MPF\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0xB001, 4, 1, 2) + bytes(4),
    ),
    "Photoshop": (0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    "comment": (0xFE, b"\xff" * 60_000),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_no_segment_of_metadata_rejects_a_whole_jpeg(name: str) -> None:
    whole = encode("JPEG", exif=exif_of(6))
    assert np.array_equal(decode(insert_segment(whole, *SEGMENTS[name])), decode(whole))


TAGS = {
    "resolution": struct.pack("<HHIi", 282, 9, 1, -72),
    "directory beyond the end": struct.pack("<HHIi", 34665, 4, 1, -5),
    "packet of numbers": struct.pack("<HHII", 700, 4, 1, 5),
    "packet of text": struct.pack("<HHI4s", 700, 2, 4, b"text"),
    "profile": struct.pack("<HHII", 34675, 7, 2**31, 8),
    "unknown": struct.pack("<HHII", 60_000, 77, 2**31, 8),
}


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("name", TAGS)
def test_no_tag_of_metadata_rejects_a_whole_tiff(name: str, compression: str | None) -> None:
    tiff = insert_tags(encode("TIFF", compression=compression), TAGS[name])
    assert np.array_equal(decode(tiff), PHOTOGRAPH)


CASES = {
    "junk-exif.png": (48, 40),
    "orientation-6-negative-resolution.jpg": (40, 48),
    "text-chunk-over-1MB.png": (48, 40),
}


@pytest.mark.parametrize("name", CASES)
def test_a_reported_image_is_decoded(name: str) -> None:
    path = SHARED / "cases" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert decode(path.read_bytes()).size == CASES[name]


# --- pixels -------------------------------------------------------------------------------------

DEEP = np.linspace(0, 2**16 - 1, 48).reshape(6, 8).astype(np.uint16)
SMALL = DEEP // 257


def gray(levels: NDArray[np.uint16]) -> Pixels:
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32)]
)
def test_sixteen_bits_of_gray_are_scaled_not_clipped(kind: str, dtype: type) -> None:
    assert np.array_equal(decode(encode(kind, Image.fromarray(DEEP.astype(dtype)))), gray(SMALL))


def test_sixteen_bits_of_big_endian_gray_are_scaled_too() -> None:
    tiff = encode("TIFF", Image.frombytes("I;16B", (8, 6), DEEP.astype(">u2").tobytes()))
    assert np.array_equal(decode(tiff), gray(SMALL))


def test_sixteen_bits_of_color_become_eight() -> None:
    rows = b"".join(b"\0" + struct.pack(">24H", *range(0, 24 * 2_000, 2_000)) for _ in range(6))
    png = header_of("PNG", 8, 6)
    png = png.replace(png[8:33], png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)))
    before, after = png[:33], png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    row = np.arange(0, 24 * 2_000, 2_000).reshape(8, 3) // 256
    assert np.array_equal(decode(before + after), np.tile(row, (6, 1, 1)))


def test_one_bit_is_black_or_white() -> None:
    checks = np.indices((6, 8)).sum(axis=0) % 2 == 0
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        image = decode(encode(kind, Image.fromarray(checks)))
        assert np.array_equal(image, gray(checks * np.uint16(255)))


def test_what_is_transparent_is_white() -> None:
    """Half of an image is clear, whatever color it has there, and half is (10, 10, 10)."""
    alpha = np.repeat([[0, 255]], 2, axis=0).astype(np.uint8)
    level = np.full_like(alpha, 10)
    palette = Image.fromarray(alpha // 255, mode="P")
    palette.putpalette([200, 0, 0, 10, 10, 10])
    images = {
        "RGBA": encode("PNG", Image.fromarray(np.stack([level] * 3 + [alpha], axis=2))),
        "LA": encode("PNG", Image.fromarray(np.stack([level, alpha], axis=2), mode="LA")),
        "palette": encode("PNG", palette, transparency=0),
        "palette, GIF": encode("GIF", palette, transparency=0),
        "one color": encode("PNG", palette.convert("RGB"), transparency=(200, 0, 0)),
        "lossless WebP": encode(
            "WEBP", Image.fromarray(np.stack([level] * 3 + [alpha], axis=2)), lossless=True
        ),
    }
    for name, encoded in images.items():
        assert np.asarray(decode(encoded))[:, :, 0].tolist() == [[255, 10]] * 2, name


def test_the_inks_of_a_jpeg_become_colors() -> None:
    inks = Image.new("CMYK", SIZE, (0, 255, 255, 0))
    assert is_near(decode(encode("JPEG", inks, quality=95)), np.full((40, 48, 3), (255, 0, 0)))


CLEAR = {"P": 3, "L": 100, "RGB": (200, 9, 9)}  # a color of PNG that is transparent
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16")


@pytest.mark.parametrize(
    ("mode", "options"),
    [(mode, {}) for mode in MODES] + [(mode, {"transparency": CLEAR[mode]}) for mode in CLEAR],
)
def test_pixels_do_not_depend_on_how_many_are_converted_at_a_time(
    mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the profile, which is stored with them."""
    source = photograph().convert("L") if mode == "I;16" else photograph()
    image = source.quantize(8) if mode == "P" else source.convert(mode)
    kind = "TIFF" if mode in {"CMYK", "YCbCr", "LAB"} else "PNG"
    encoded = encode(kind, image, icc_profile=b"a profile", **options)
    whole = decode(encoded)
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 7 * SIZE[0])
    strips = decode(encoded)
    assert np.array_equal(strips, whole)
    assert strips.info == whole.info


def test_a_profile_of_gray_pixels_is_kept_as_that_of_color() -> None:
    for image in (photograph(), photograph().convert("L")):
        assert decode(encode("PNG", image, icc_profile=b"a profile")).info == {
            "icc_profile": b"a profile"
        }


PEAK = """
import sys
from contextlib import suppress
from pipeline.data.decoding import UndecodableError, decode
from tests.helpers.memory import peak_above

def work(encoded):
    with suppress(UndecodableError):
        decode(encoded)

small, large = sys.stdin.buffer.read().split(b"NEXT")
work(small)
print(peak_above(lambda: work(large)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells a process's peak of memory")
@pytest.mark.parametrize(
    ("mode", "options", "end", "most"),
    [
        ("RGB", {}, 0, 4.5),
        ("RGBA", {}, 0, 11.5),  # a strip of 2**20 pixels is a third of this image
        ("P", {"transparency": 1}, 0, 7.5),
        ("RGB", {}, 64, 4.5),  # cut: decoded twice, as metadata may be what is wrong
    ],
)
def test_an_image_is_not_copied_whole(
    mode: str, options: dict[str, int], end: int, most: float
) -> None:
    """most: bytes of memory a pixel; an RGB image in memory has four."""
    size = (2_000, 1_600)
    image = photograph().resize(size, Image.Resampling.NEAREST).convert(mode)
    large = insert_chunk(encode("PNG", image, **options), CHUNKS["short pHYs"], before=b"IEND")
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        check=True,
        cwd=ROOT,
        input=encode("PNG") + b"NEXT" + large[: len(large) - end],
        capture_output=True,
    )
    assert int(done.stdout) / (size[0] * size[1]) < most


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
def test_a_truncated_image_is_damaged(kind: str, share: float) -> None:
    whole = encode(kind)
    reason = refused(whole[: int(len(whole) * share)])
    assert reason.startswith("damaged (")
    assert "\n" not in reason
    assert " at 0x" not in reason


def test_a_truncated_image_is_damaged_without_its_metadata_too() -> None:
    png = insert_chunk(encode("PNG"), CHUNKS["large iCCP"])
    assert refused(png[:-200]) == "damaged (image file is truncated)"


# --- the number of pixels -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG", "TIFF"])
def test_too_many_pixels_are_refused_by_the_header(kind: str) -> None:
    encoded = header_of(kind, 10_100, 10_000)
    with pytest.raises(UndecodableError) as caught:
        decode(encoded)
    assert str(caught.value) == "too many pixels (10100 x 10000)"
    assert caught.value.advice == "allowed: at most 100 million; make the image smaller"
    assert read_header(encoded) == Header(kind, 10_100, 10_000)
    for read in (decode, read_header):
        with pytest.raises(UndecodableError) as caught:
            read(header_of(kind, 60_000, 60_000))
        assert str(caught.value) == "too many pixels (more than 200 million)"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_what_is_cropped_has_not_too_many_pixels_either(kind: str) -> None:
    """HEIC is coded in blocks, so that each image is cropped: to nearly nothing in a bomb."""
    encoded = encode(kind)
    place = encoded.index(b"ispe") + 8
    large = encoded[:place] + struct.pack(">II", 10_100, 10_000) + encoded[place + 8 :]
    assert refused(large) == "too many pixels (10100 x 10000)"


def test_a_tile_has_not_too_many_pixels_either() -> None:
    tiff = encode("TIFF")
    for strip, tile in ((273, 324), (279, 325)):  # offsets, and numbers of bytes
        tiff = tiff.replace(struct.pack("<HHI", strip, 4, 1), struct.pack("<HHI", tile, 4, 1))
    small, large = (
        insert_tags(tiff, *(struct.pack("<HHII", tag, 4, 1, side) for tag in (322, 323)))
        for side in (48, 2**16)
    )
    assert np.array_equal(decode(small), PHOTOGRAPH)
    assert refused(large) == "too many pixels (65536 x 65536)"


def test_a_jpeg_is_shrunk_while_it_is_decoded_where_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1_000)
    large = encode("JPEG")
    assert refused(large) == "too many pixels (48 x 40)"
    assert decode(large, least_size=(24, 20)).size == (24, 20)
    assert decode(large, least_size=(7, 7)).size == (12, 10)
    assert refused(large, least_size=(25, 20)) == "too many pixels (48 x 40)"
    assert refused(encode("PNG"), least_size=(7, 7)) == "too many pixels (48 x 40)"


@pytest.mark.parametrize("kind", FORMATS)
def test_only_a_jpeg_is_shrunk_while_it_is_decoded(kind: str) -> None:
    size = decode(encode(kind), least_size=(10, 10)).size
    assert size == ((12, 10) if kind == "JPEG" else SIZE)


def test_a_thumbnail_in_an_image_does_not_stand_for_it() -> None:
    large = photograph().resize((480, 400))
    large.info["thumbnails"] = [120]
    assert decode(encode("HEIF", large), least_size=(50, 50)).size == (480, 400)


# --- global state -------------------------------------------------------------------------------


def test_pillow_stays_as_it_is_but_for_its_limit_of_pixels() -> None:
    decode(encode("HEIF"))
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20
    with Image.open(io.BytesIO(encode("PPM"))) as opened:
        assert opened.format == "PPM"


PROGRAM = """
import sys
from pipeline.data.decoding import UndecodableError, decode
try:
    print(decode(sys.stdin.buffer.read()).size)
except UndecodableError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("encoded", "printed"),
    [
        (encode("HEIF"), "(48, 40)"),
        (encode("AVIF"), "(48, 40)"),
        (encode("TIFF"), "(48, 40)"),
        (encode("JPEG", exif=exif_of(6, RUBBISH["place beyond the end"])), "(40, 48)"),
        (header_of("PNG", 10_100, 10_000), "too many pixels (10100 x 10000)"),
    ],
)
def test_a_new_process_decodes_without_a_warning(encoded: bytes, printed: str) -> None:
    """One where nothing has imported Pillow's plugins, or set its limits."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, input=encoded, capture_output=True)
    assert (done.stdout.decode().strip(), done.stderr) == (printed, b"")


def test_decoding_leaves_the_warning_filters_that_threads_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(*_: object, **__: object) -> None:
        raise AssertionError("the warning filters were changed")

    decode(encode("PNG"))
    for name in ("catch_warnings", "simplefilter", "filterwarnings"):
        monkeypatch.setattr(warnings, name, change)
    assert decode(insert_chunk(encode("PNG"), CHUNKS["EXIF"])).size == SIZE


def test_a_profile_of_other_than_the_converted_pixels_is_dropped() -> None:
    """Pillow's own, of LAB, has the second at which it was made: other bytes at each packing."""
    for mode in ("CMYK", "LAB"):
        image = photograph().convert("RGB").convert(mode)
        assert decode(encode("TIFF", image, icc_profile=b"a profile")).info == {}, mode


# --- images that are open -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_an_open_image_becomes_what_its_file_is_decoded_to(kind: str) -> None:
    encoded = encode(kind)
    decode(encoded)  # which makes Pillow know all formats
    opened = to_upright_rgb(Image.open(io.BytesIO(encoded)))
    assert np.array_equal(opened, decode(encoded))


def test_an_image_that_is_closed_or_empty_is_refused() -> None:
    closed = Image.open(io.BytesIO(encode("PNG")))
    closed.close()
    for image, reason in (
        (closed, "cannot be decoded (Operation on closed image)"),
        (Image.new("L", (0, 5)), "cannot be decoded (0 x 5 pixels)"),
    ):
        with pytest.raises(UndecodableError) as caught:
            to_upright_rgb(image)
        assert str(caught.value) == reason
        assert caught.value.advice == "give a whole image that is not closed"
