"""What a photo takes in memory, told by its header; measured where it is decoded."""

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from app.searching import photo_memory
from app.searching.photo_memory import (
    BYTES_PER_PIXEL,
    PHOTO_MEMORY,
    decode_in_memory,
    max_pixels,
    read_photo_header,
)
from app.searching.untrusted_images import MAX_BYTES
from pipeline.data.decoding import decode
from pipeline.errors import UserError
from tests.helpers.encoded_images import encode, exif_of, header_of, photograph
from tests.helpers.paths import ROOT

# In 2026. Cameras and scanners have more; the last are the least that people expect.
USUAL = {"JPEG": 108_000_000, "HEIC": 6_048 * 4_032, "PNG": 6_048 * 4_024, "WebP": 4_032 * 3_024}
LIMITS = {
    "JPEG": 200_000_000,
    "progressive JPEG": 31_800_000,
    "progressive CMYK JPEG": 24_500_000,
    "PNG": 24_500_000,
    "BMP": 24_500_000,
    "GIF": 24_500_000,
    "HEIC": 27_000_000,
    "HEIC with transparency or 4:4:4": 10_500_000,
    "WebP": 12_200_000,
    "AVIF": 10_800_000,
    "TIFF": 15_400_000,
}


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGB")
    image.putalpha(image.getchannel(0))
    return image


def deep(image: Image.Image, *, chroma: int, mode: str = "RGB") -> bytes:
    levels = np.asarray(image.convert(mode)).astype(np.uint16) << 8
    made = pillow_heif.from_bytes(f"{mode};16", image.size, levels.tobytes())
    return encode_heif(made, chroma=chroma)


def encode_heif(image: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, quality=50, enc_params={"preset": "ultrafast"}, **options)
    return out.getvalue()


def tiff(mode: str) -> Callable[[Image.Image], bytes]:
    def make(image: Image.Image) -> bytes:
        gray = np.asarray(image.convert("L"))
        of = {
            "F": lambda: Image.fromarray(gray.astype(np.float32) / 255),
            "I": lambda: Image.fromarray(gray.astype(np.int32)),
            "I;16": lambda: Image.fromarray(gray.astype(np.uint16) * 200),
            "RGBA": lambda: with_alpha(image),
        }.get(mode, lambda: image.convert(mode))()
        return encode("TIFF", of, compression="tiff_lzw", tiffinfo={278: image.height})

    return make


TURNED = {"exif": exif_of(6)}
# Of each kind of photo the ways to encode it that take most memory.
KINDS: list[tuple[str, str, Callable[[Image.Image], bytes]]] = [
    ("JPEG", "turned", lambda image: encode("JPEG", image, **TURNED)),
    ("JPEG", "CMYK", lambda image: encode("JPEG", image.convert("CMYK"), **TURNED)),
    ("JPEG", "MPO", lambda image: encode("MPO", image, save_all=True, append_images=[image])),
    (
        "progressive JPEG",
        "4:4:4",
        lambda image: encode("JPEG", image, progressive=True, subsampling=0, **TURNED),
    ),
    (
        "progressive CMYK JPEG",
        "4:4:4:4",
        lambda image: encode(
            "JPEG", image.convert("CMYK"), progressive=True, subsampling=0, **TURNED
        ),
    ),
    ("PNG", "turned", lambda image: encode("PNG", image, **TURNED)),
    ("PNG", "RGBA", lambda image: encode("PNG", with_alpha(image), **TURNED)),
    ("PNG", "palette", lambda image: encode("PNG", image.quantize(8), transparency=3)),
    ("PNG", "LA", lambda image: encode("PNG", with_alpha(image).convert("LA"))),
    (
        "PNG",
        "16 bits",
        lambda image: encode(
            "PNG", Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
        ),
    ),
    ("BMP", "RGB", lambda image: encode("BMP", image)),
    ("GIF", "transparent", lambda image: encode("GIF", image.quantize(8), transparency=3)),
    ("HEIC", "4:2:0", lambda image: encode_heif(pillow_heif.from_pillow(image))),
    ("HEIC", "10 bits", lambda image: deep(image, chroma=420)),
    (
        "HEIC with transparency or 4:4:4",
        "4:4:4",
        lambda image: encode_heif(pillow_heif.from_pillow(image), chroma=444),
    ),
    (
        "HEIC with transparency or 4:4:4",
        "both, 10 bits",
        lambda image: deep(with_alpha(image), chroma=444, mode="RGBA"),
    ),
    ("WebP", "RGBA", lambda image: encode("WEBP", with_alpha(image), method=0, **TURNED)),
    ("WebP", "lossless", lambda image: encode("WEBP", with_alpha(image), lossless=True, method=0)),
    (
        "AVIF",
        "RGBA, 4:4:4",
        lambda image: encode("AVIF", with_alpha(image), speed=10, subsampling="4:4:4", **TURNED),
    ),
    *(("TIFF", mode, tiff(mode)) for mode in ("RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F")),
]
NAMES = [f"{kind}, {how}" for kind, how, _ in KINDS]


@pytest.mark.parametrize(("kind", "how", "make"), KINDS, ids=NAMES)
def test_the_kind_of_a_photo_is_told_by_its_header(
    kind: str, how: str, make: Callable[[Image.Image], bytes]
) -> None:
    del how
    photo = read_photo_header(make(photograph().resize((256, 192))), name="a")
    assert (photo.kind, photo.pixels) == (kind, 256 * 192)
    assert photo.memory == int(256 * 192 * BYTES_PER_PIXEL[kind])


def test_a_jpeg_whose_colors_are_in_scans_of_their_own_is_decoded_as_a_progressive_one() -> None:
    """Of such a file, the header of the first scan is enough."""
    jpeg = encode("JPEG")
    place = jpeg.index(b"\xff\xda")
    alone = jpeg[:place] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + jpeg[place + 14 :]
    assert read_photo_header(alone, name="a").kind == "progressive JPEG"


PEAK = """
import sys
from app.searching.photo_memory import decode_in_memory, read_photo_header
from tests.helpers.memory import peak_above
small, large = sys.stdin.buffer.read().split(b"NEXT")
decode_in_memory(small, name="a")
print(peak_above(lambda: decode_in_memory(large, name="a")))
print(read_photo_header(large, name="a").memory)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells a process's peak of memory")
@pytest.mark.parametrize("size", [(2_600, 2_200), (4_100, 4_000)])
@pytest.mark.parametrize(("kind", "how", "make"), KINDS, ids=NAMES)
def test_no_more_memory_is_taken_than_was_told(
    kind: str, how: str, make: Callable[[Image.Image], bytes], size: tuple[int, int]
) -> None:
    del how
    if size[0] > 4_000 and "JPEG" not in kind:
        pytest.skip("a JPEG alone is decoded in another way where it is large")
    large = make(photograph().resize(size, Image.Resampling.BICUBIC))
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        check=True,
        cwd=ROOT,
        input=make(photograph()) + b"NEXT" + large,
        capture_output=True,
    )
    taken, told = map(int, done.stdout.split())
    # Strips that are converted are a share of a larger image; of this one they are more.
    assert taken <= told + 16 * 2**20, f"{taken / (size[0] * size[1]):.2f} bytes a pixel"
    assert taken >= 0.2 * told


def test_usual_photos_are_allowed_and_none_takes_more_than_there_is() -> None:
    assert {kind: max_pixels(kind) for kind in BYTES_PER_PIXEL} == LIMITS
    for kind, pixels in USUAL.items():
        assert max_pixels(kind) >= pixels
    for kind, pixels in LIMITS.items():
        photo = photo_memory.Photo(kind, pixels // 4_000, 4_000, pixels)
        assert photo.memory + MAX_BYTES <= PHOTO_MEMORY


@pytest.mark.parametrize(
    ("kind", "article", "most"),
    [("PNG", "a PNG", "24.5"), ("BMP", "a BMP", "24.5"), ("TIFF", "a TIFF", "15.4")],
)
def test_too_many_pixels_are_refused_by_the_header(kind: str, article: str, most: str) -> None:
    with pytest.raises(UserError) as error:
        read_photo_header(header_of(kind, 9_000, 8_000), name="a.png")
    assert str(error.value) == (
        f"a.png: too many pixels (9000 x 8000); allowed in {article}: at most {most} million; "
        "make the image smaller"
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_where_the_kind_is_not_known_the_limits_of_all_are_told() -> None:
    with pytest.raises(UserError) as error:
        read_photo_header(header_of("PNG", 60_000, 60_000), name="a.png")
    assert str(error.value) == (
        "a.png: too many pixels (more than 200 million); allowed in a JPEG: at most 200 million, "
        "in a progressive JPEG: at most 31.8 million, in a progressive CMYK JPEG: at most 24.5 "
        "million, in a PNG: at most 24.5 million, in a BMP: at most 24.5 million, in a GIF: at "
        "most 24.5 million, in a HEIC: at most 27 million, in a HEIC with transparency or 4:4:4: "
        "at most 10.5 million, in a WebP: at most 12.2 million, in an AVIF: at most 10.8 million, "
        "in a TIFF: at most 15.4 million; make the image smaller"
    )


def test_a_jpeg_is_decoded_whole_unless_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = encode("JPEG", photograph().resize((480, 400)))
    assert np.array_equal(decode_in_memory(jpeg, name="a"), decode(jpeg))
    monkeypatch.setattr(photo_memory, "WHOLE_PIXELS", 480 * 400 - 1)
    monkeypatch.setattr(photo_memory, "REDUCED_SIDE", 120)
    assert decode_in_memory(jpeg, name="a").size == (120, 100)
    png = encode("PNG", photograph().resize((480, 400)))
    assert decode_in_memory(png, name="a").size == (480, 400)


def test_a_jpeg_is_decoded_as_small_as_both_its_memory_and_a_network_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jpeg = encode("JPEG", photograph().resize((480, 400)))
    sizes = {side: decode_in_memory(jpeg, name="a", side=side).size for side in (401, 200, 100)}
    assert sizes == {401: (480, 400), 200: (240, 200), 100: (120, 100)}
    monkeypatch.setattr(photo_memory, "WHOLE_PIXELS", 480 * 400 - 1)
    monkeypatch.setattr(photo_memory, "REDUCED_SIDE", 120)
    sizes = {side: decode_in_memory(jpeg, name="a", side=side).size for side in (401, 110, 50)}
    assert sizes == {401: (120, 100), 110: (120, 100), 50: (60, 50)}
