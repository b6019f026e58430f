"""Encoded images without their metadata, for those that Pillow refuses because of it alone.

A library that reads EXIF, profiles and texts raises where they are broken or too large, although
no pixel depends on them. What stays here is what pixels and their orientation depend on.
"""

import re
import zlib
from typing import Literal

_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
# Of JPEG: application data but APP1 (EXIF) and APP14 (how Adobe stores colors), and comments.
_JPEG_METADATA = {*range(0xE0, 0xF0), 0xFE} - {0xE1, 0xEE}
_JPEG_SCAN = 0xDA
# Of TIFF: the tags of the baseline and of its compressions, but for texts, dates and resolutions.
_TIFF_TAGS = {*range(254, 269), *range(273, 282), *range(284, 348), *range(512, 533)} - {
    *(285, 286, 287, 296, 305, 306, 315, 316, 330)
}
_TIFF_ENTRY = 12  # bytes
# An item of ISO base media (AVIF, HEIC), as its header has it: version, id, protection, type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def drop_metadata(encoded: bytes) -> bytes:
    """Return an image without metadata that may be broken; `encoded` itself if there is none.

    Its orientation is kept, but of AVIF and HEIC, which have it beside the EXIF data too.
    """
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return _drop_chunks(encoded)
    if encoded.startswith(b"\xff\xd8"):
        return _drop_segments(encoded)
    if encoded.startswith((b"II*\0", b"MM\0*")):
        return _drop_tags(encoded)
    if encoded[4:8] == b"ftyp":
        return _EXIF_ITEM.sub(rb"\1free", encoded)
    return encoded


def _drop_chunks(png: bytes) -> bytes:
    view = memoryview(png)  # whose parts are not copied
    kept, place = [view[:8]], 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        name = png[place + 4 : place + 8]
        if name == b"eXIf":  # its checksum may be what is wrong
            checksum = zlib.crc32(png[place + 4 : end - 4]).to_bytes(4, "big")
            kept += [view[place : end - 4], memoryview(checksum)]
        elif name in _PNG_CHUNKS:
            kept.append(view[place:end])
        place = end
    return b"".join(kept)


def _drop_segments(jpeg: bytes) -> bytes:
    view = memoryview(jpeg)
    kept, place = [view[:2]], 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] != _JPEG_SCAN:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if jpeg[place + 1] not in _JPEG_METADATA:
            kept.append(view[place:end])
        place = end
    return b"".join([*kept, view[place:]])


def _drop_tags(tiff: bytes) -> bytes:
    """Return a TIFF of the first page alone, whose directory has fewer entries."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    first = int.from_bytes(tiff[4:8], order) + 2
    count = int.from_bytes(tiff[first - 2 : first], order)
    entries = [tiff[first + n * _TIFF_ENTRY :][:_TIFF_ENTRY] for n in range(count)]
    kept = [each for each in entries if int.from_bytes(each[:2], order) in _TIFF_TAGS]
    directory = len(kept).to_bytes(2, order) + b"".join(kept) + bytes(4)
    return tiff[: first - 2] + directory + tiff[first - 2 + len(directory) :]
