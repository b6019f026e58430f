"""Prepare one image of a dataset to be stored: read, decode, crop to its box, shrink."""

import io
import warnings
from dataclasses import dataclass
from functools import cache

from PIL import Image, UnidentifiedImageError

from pipeline.data.shards import decode
from pipeline.datasets.source_image import SourceImage

JPEG_QUALITY = 95


@dataclass(frozen=True)
class PreparedImage:
    """An image ready to be stored; or, if `reason` is set, why it cannot be stored."""

    encoded: bytes = b""
    width: int = 0
    height: int = 0
    reason: str | None = None


def prepare_image(image: SourceImage, *, max_side: int | None) -> PreparedImage:
    """Read, decode, crop and shrink one image.

    The bytes are stored as they are, unless a box or `max_side` changes the image, or it is HEIC,
    which browsers do not show; then it is encoded again, as PNG if it was PNG, else as JPEG. Width
    and height are those of the image that `shards.decode` returns, upright.
    """
    if image.read is None:
        raise ValueError(f"{image.path}: has nothing to read")
    register_heic()
    try:
        encoded = image.read()
        upright = _decode_untrusted(encoded)
        changed = _shrink(_crop(upright, image.box), max_side)
        if changed is not upright or _format_of(encoded) == "HEIF":
            encoded = _encode(changed, like=encoded)
    except OSError as error:
        return PreparedImage(reason=_one_line(error.strerror or error))
    except _UndecodableError as error:
        return PreparedImage(reason=_one_line(error))
    return PreparedImage(encoded, changed.width, changed.height)


@cache
def register_heic() -> None:
    """Let Pillow open HEIC, which it cannot without a plug-in."""
    import pillow_heif

    pillow_heif.register_heif_opener()


class _UndecodableError(Exception):
    pass


def _decode_untrusted(encoded: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # A few kilobytes may decode to gigapixels; above 89 megapixels, Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return decode(encoded)
        except UnidentifiedImageError:
            raise _UndecodableError("not an image that Pillow can identify") from None
        except Exception as error:  # on damaged bytes, Pillow may raise any exception
            raise _UndecodableError(str(error) or type(error).__name__) from None


def _crop(image: Image.Image, box: tuple[int, int, int, int] | None) -> Image.Image:
    if box is None:
        return image
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise _UndecodableError(f"box {box} is outside its {image.width} x {image.height} pixels")
    return image if inside == (0, 0, *image.size) else image.crop(inside)


def _shrink(image: Image.Image, max_side: int | None) -> Image.Image:
    longer = max(image.size)
    if max_side is None or longer <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encode(image: Image.Image, *, like: bytes) -> bytes:
    out = io.BytesIO()
    if _format_of(like) == "PNG":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _format_of(encoded: bytes) -> str | None:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.format


# Not errors.one_line: this text is in data/rejected.csv, and no output depends on errors.py.
def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())
