"""Encoded images for tests, above all such as people have and libraries stumble over."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")
LOSSLESS = ("PNG", "BMP", "TIFF")
SIZE = (48, 40)


@cache
def photograph() -> Image.Image:
    """Return an image of SIZE without symmetry, smooth enough for lossy formats."""
    noise = np.random.default_rng(0).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC)


def encode(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return an image, `photograph()` if none is given, in a format that Pillow writes, or HEIF."""
    image = photograph() if image is None else image
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(out, quality=95, **options)
    else:
        image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    checksum = zlib.crc32(name + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + name + body + checksum


def insert_chunk(png: bytes, chunk: bytes, *, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with a chunk more, before the first of a name."""
    place = png.index(before) - 4
    return png[:place] + chunk + png[place:]


def insert_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment at its start, of the marker 0xFF00 + `marker`."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def exif_of(orientation: int, *rubbish: bytes) -> bytes:
    """Return EXIF data with an orientation, and beside it entries of 12 bytes each."""
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    entries = sorted([turned, *rubbish], key=lambda entry: struct.unpack("<H", entry[:2]))
    return b"Exif\0\0II*\0\x08\0\0\0" + _directory(entries)


def insert_tags(tiff: bytes, *entries: bytes) -> bytes:
    """Return a little-endian TIFF with more tags, of 12 bytes each."""
    start = struct.unpack("<I", tiff[4:8])[0]
    count = struct.unpack("<H", tiff[start : start + 2])[0]
    held = [tiff[start + 2 + 12 * n :][:12] for n in range(count)]
    both = sorted([*held, *entries], key=lambda entry: struct.unpack("<H", entry[:2]))
    even = tiff + bytes(len(tiff) % 2)
    return even[:4] + struct.pack("<I", len(even)) + even[8:] + _directory(both)


def header_of(kind: str, width: int, height: int) -> bytes:
    """Return a file of a few bytes whose header gives a size, with hardly any pixels."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(bytes(64))
        chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    if kind == "BMP":
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 118, 0, 0, 54) + info + bytes(64)
    if kind == "GIF":
        screen = struct.pack("<HHBBB", width, height, 0, 0, 0)
        frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
        return b"GIF89a" + screen + frame + b"\x02\x02\x4c\x01\x00;"
    if kind == "JPEG":
        small = encode("JPEG")
        place = small.index(b"\xff\xc0") + 5
        return small[:place] + struct.pack(">HH", height, width) + small[place + 4 :]
    if kind == "TIFF":
        tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 64))
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
        return b"II*\0" + struct.pack("<I", 72) + bytes(64) + _directory(entries)
    raise ValueError(kind)


def _directory(entries: list[bytes]) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
