"""A packed picture as a browser shows it."""

import io
from dataclasses import dataclass

from PIL import Image

from pipeline.data.shards import decode

# Told by how the bytes begin; all others, such as HEIC and TIFF, are encoded anew.
SHOWN_AS_THEY_ARE = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
}
# Smaller than this, a picture is not worth shrinking.
SMALL_BYTES = 48 * 2**10


@dataclass(frozen=True)
class Tile:
    """Encoded bytes and their media type."""

    encoded: bytes
    media_type: str


def encode_tile(encoded: bytes, *, side: int | None) -> Tile:
    """Return a picture as it is where a browser shows that, else as a JPEG.

    side: its longer side is shrunk to so many pixels, where that saves much; None keeps its size.
    """
    shown = _media_type(encoded)
    if shown and (side is None or len(encoded) <= SMALL_BYTES):
        return Tile(encoded, shown)
    picture = decode(encoded)
    if side is not None:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    picture.save(small, "JPEG", quality=88)
    return Tile(small.getvalue(), "image/jpeg")


def _media_type(encoded: bytes) -> str | None:
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (kind for start, kind in SHOWN_AS_THEY_ARE.items() if encoded.startswith(start)), None
    )
