"""Prepare one image of a dataset to be stored: decode, crop to its box, shrink."""

import io
from dataclasses import dataclass, field

from PIL import Image

from pipeline.data.decoding import MAX_PIXELS, Header, UndecodableError, decode, read_header
from pipeline.data.image_rows import ImageFacts
from pipeline.health.image_facts import describe_image

JPEG_QUALITY = 95

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class PreparedImage:
    """An image ready to be stored; or, if `reason` is set, why it cannot be stored."""

    encoded: bytes = b""
    width: int = 0
    height: int = 0
    reason: str | None = None
    # They follow from the pixels, so two images are compared without them.
    facts: ImageFacts | None = field(default=None, compare=False)


def prepare_image(encoded: bytes, *, box: Box | None = None, max_side: int | None) -> PreparedImage:
    """Decode, crop and shrink one image.

    The bytes are stored as they are, unless a box or `max_side` changes the image, or it is HEIC,
    which browsers do not show; then it is encoded again, as PNG if it was PNG, else as JPEG. Width
    and height are those of the image that `decode` returns, upright.
    """
    try:
        header = read_header(encoded)
        smaller = _least_size(header, box, max_side)
        upright = decode(encoded, least_size=smaller)
        changed = _shrink(_crop(upright, box), max_side)
        if smaller is not None or changed is not upright or header.format == "HEIF":
            encoded = _encode(changed, "PNG" if header.format == "PNG" else "JPEG")
    except UndecodableError as error:
        return PreparedImage(reason=str(error))
    return PreparedImage(encoded, changed.width, changed.height, facts=describe_image(changed))


def _least_size(header: Header, box: Box | None, max_side: int | None) -> tuple[int, int] | None:
    """Return the size to decode an image at that has too many pixels; None: its own.

    All other images are decoded whole: to shrink a JPEG while decoding changes pixels a little.
    Pixels of a box are those of the whole image.
    """
    if max_side is None or box is not None or header.width * header.height <= MAX_PIXELS:
        return None
    return _fit(header.width, header.height, max_side)


def _crop(image: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return image
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise UndecodableError(
            f"box outside the image ({box} of {image.width} x {image.height} pixels)",
            advice="correct the box",
        )
    return image if inside == (0, 0, *image.size) else image.crop(inside)


def _shrink(image: Image.Image, max_side: int | None) -> Image.Image:
    if max_side is None or max(image.size) <= max_side:
        return image
    size = _fit(*image.size, max_side)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _fit(width: int, height: int, max_side: int) -> tuple[int, int]:
    longer = max(width, height)
    return max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer))


def _encode(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "PNG":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()
