"""A packed image as a browser shows it."""

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
# Smaller than this, an image is not worth shrinking.
SMALL_BYTES = 48 * 2**10


@dataclass(frozen=True)
class BrowserImage:
    """Encoded bytes and their media type."""

    encoded: bytes
    media_type: str


def encode_for_browser(encoded: bytes, *, side: int | None) -> BrowserImage:
    """Return an image as it is where a browser shows that, else as a JPEG.

    side: its longer side is shrunk to so many pixels, where that saves much; None keeps its size.
    """
    shown = _media_type(encoded)
    if shown and (side is None or len(encoded) <= SMALL_BYTES):
        return BrowserImage(encoded, shown)
    image = decode(encoded)
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    image.save(small, "JPEG", quality=88)
    return BrowserImage(small.getvalue(), "image/jpeg")


def _media_type(encoded: bytes) -> str | None:
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (kind for start, kind in SHOWN_AS_THEY_ARE.items() if encoded.startswith(start)), None
    )
