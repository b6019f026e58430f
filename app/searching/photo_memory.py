"""What a photo from outside takes in memory to be decoded, told by its header: a few kilobytes may
say that they are a hundred megapixels."""

import re
from dataclasses import dataclass

from PIL import Image, ImageFile

from app.searching.untrusted_images import MAX_BYTES, named_errors
from pipeline.data.decoding import (
    MAX_PIXELS,
    UndecodableError,
    decode,
    format_of,
    inspect,
    kind_of,
    sizes_in_memory,
)

# Bytes that one photo may take, encoded and decoded.
PHOTO_MEMORY = 250_000_000
# The most bytes a pixel that decoding takes at a time, with what turns the image upright. Measured:
# tests/app/searching/test_photo_memory.py decodes each of them, and the worst kinds of it.
BYTES_PER_PIXEL = {
    "JPEG": 8.9,
    "progressive JPEG": 10.3,
    "progressive CMYK JPEG": 12.3,
    "PNG": 8.8,
    "BMP": 8.8,
    "GIF": 8.8,
    "HEIC": 8.0,
    "HEIC with transparency or 4:4:4": 20.6,
    "WebP": 17.74,
    "AVIF": 20.0,
    "TIFF": 14.0,
}
# A JPEG of more pixels than WHOLE_PIXELS is decoded at a quarter of its size or less, as large ones
# are when a dataset is packed; then what is held whole are the coefficients of a progressive one.
WHOLE_PIXELS = 16_000_000
REDUCED_SIDE = 1_000
REDUCED_BYTES_PER_PIXEL = {
    "JPEG": 0.7,
    "progressive JPEG": 6.8,
    "progressive CMYK JPEG": 8.8,
}
SCAN = 0xDA  # the marker of a JPEG's segment before a scan
# In the configuration of HEVC in a HEIC: how colors are sampled, 1 half in both directions, 0 gray.
HEVC_SAMPLING = re.compile(rb"hvcC.{16}(.)", re.DOTALL)


@dataclass(frozen=True)
class Photo:
    """What its header says of a photo.

    kind: a key of BYTES_PER_PIXEL. pixels: that are decoded, which a crop in the file may hide.
    """

    kind: str
    width: int
    height: int
    pixels: int

    @property
    def least_size(self) -> tuple[int, int] | None:
        """The least width and height to decode it at, as `decode` takes them; None: its own."""
        if self.kind not in REDUCED_BYTES_PER_PIXEL or self.pixels <= WHOLE_PIXELS:
            return None
        share = REDUCED_SIDE / max(self.width, self.height)
        return max(1, int(self.width * share)), max(1, int(self.height * share))

    def least_size_for(self, side: int | None) -> tuple[int, int] | None:
        """Return the `least_size`, less where `side` allows it for width or height."""
        if side is None:
            return self.least_size
        width, height = self.least_size or (side, side)
        return min(width, side), min(height, side)

    @property
    def memory(self) -> int:
        """Bytes that decoding takes at most, without the encoded ones."""
        rates = BYTES_PER_PIXEL if self.least_size is None else REDUCED_BYTES_PER_PIXEL
        return int(self.pixels * rates[self.kind])


def max_pixels(kind: str) -> int:
    """Return the most pixels that a photo of a kind may have."""
    rate = REDUCED_BYTES_PER_PIXEL.get(kind, BYTES_PER_PIXEL[kind])
    most = min((PHOTO_MEMORY - MAX_BYTES) / rate, 2 * MAX_PIXELS)
    return int(most / 10**5) * 10**5  # so that the error tells it exactly


def read_photo_header(encoded: bytes, *, name: str) -> Photo:
    """Return what a photo says of itself, without decoding it.

    Raises:
        UserError: in one line that begins with `name`: it is not an image, its header is damaged,
            or it has more pixels than its kind may have.
    """
    with named_errors(name):
        try:
            photo = inspect(encoded, lambda opened: _describe(opened, encoded))
        except UndecodableError as error:
            if kind_of(str(error)) != "too many pixels":
                raise
            raise _too_many(error, *BYTES_PER_PIXEL) from None
        if photo.pixels > max_pixels(photo.kind):
            found = f"too many pixels ({photo.width} x {photo.height})"
            raise _too_many(found, photo.kind)
    return photo


def decode_in_memory(encoded: bytes, *, name: str, side: int | None = None) -> Image.Image:
    """Return the RGB image, for which no more memory is taken than its header's `Photo` tells.

    side: as of `decode_photo`; a large JPEG becomes as small as that or its memory asks for.

    Raises:
        UserError: as `read_photo_header`, or the image is damaged.
    """
    photo = read_photo_header(encoded, name=name)
    with named_errors(name):
        return decode(encoded, least_size=photo.least_size_for(side))


def _describe(opened: ImageFile.ImageFile, encoded: bytes) -> Photo:
    pixels = max(width * height for width, height in sizes_in_memory(opened, encoded))
    return Photo(_find_kind(opened, encoded), *opened.size, pixels)


def _find_kind(opened: ImageFile.ImageFile, encoded: bytes) -> str:
    match format_of(opened):
        case "JPEG":
            layers = len(getattr(opened, "layer", ()))
            if "progressive" not in opened.info and _is_interleaved(encoded, layers):
                return "JPEG"
            return "progressive JPEG" if layers < 4 else "progressive CMYK JPEG"
        case "HEIF":
            usual = opened.mode != "RGBA" and all(
                sampling[0] & 3 <= 1 for sampling in HEVC_SAMPLING.findall(encoded)
            )
            return "HEIC" if usual else "HEIC with transparency or 4:4:4"
        case "WEBP":
            return "WebP"
        case other:
            return other


def _is_interleaved(jpeg: bytes, layers: int) -> bool:
    """Return whether the first scan of a JPEG has all colors: else it is decoded as a progressive
    one is. Where the segments before it are not as they should be, that is not known."""
    place = 2
    while place + 4 < len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] != SCAN:
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return jpeg[place : place + 2] == bytes([0xFF, SCAN]) and jpeg[place + 4] == layers


def _too_many(found: object, *kinds: str) -> UndecodableError:
    most = ", ".join(
        f"in {_a(kind)}: at most {max_pixels(kind) / 10**6:g} million" for kind in kinds
    )
    return UndecodableError(str(found), advice=f"allowed {most}; make the image smaller")


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'A' else 'a'} {kind}"
