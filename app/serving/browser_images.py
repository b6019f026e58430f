"""Images of the catalog in a format that browsers show."""

import io
from dataclasses import dataclass

from PIL import Image

from pipeline.data.decoding import decode

# Formats that browsers show, by their first bytes; others, such as HEIC and TIFF, become JPEG.
MEDIA_TYPES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
}
# An image of fewer bytes is not worth shrinking.
SMALL_BYTES = 48 * 2**10


@dataclass(frozen=True)
class BrowserImage:
    """Encoded bytes and their media type."""

    encoded: bytes
    media_type: str


def encode_for_browser(encoded: bytes, *, max_side: int | None) -> BrowserImage:
    """Return an image unchanged where a browser shows its format, else as a JPEG.

    max_side: pixels to shrink the longer side to, where that saves much; None keeps the size.
    """
    media_type = _find_media_type(encoded)
    if media_type and (max_side is None or len(encoded) <= SMALL_BYTES):
        return BrowserImage(encoded, media_type)
    image = decode(encoded)
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return BrowserImage(out.getvalue(), "image/jpeg")


def _find_media_type(encoded: bytes) -> str | None:
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in MEDIA_TYPES.items() if encoded.startswith(start)), None)
