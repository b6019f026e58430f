"""The one decoder of images, whoever made them: encoded bytes to the pixels of an upright image."""

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from pipeline.data.bare_images import drop_metadata
from pipeline.data.gray_levels import to_levels
from pipeline.data.other_suffixes import NO_IMAGES, OTHER_IMAGES

# The formats that are read, by Pillow's name, and the suffixes by which a folder's images are
# found. Pillow knows more of them, some of which it gives to another program to decode: a JPEG by
# its name may be PostScript, a program that never ends. AVIF stands before HEIF, because a file of
# either may begin alike, and the reader of HEIF takes what it then cannot decode.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
FORMAT_NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC"
# A few kilobytes may say that they are gigapixels, and would take all memory. A JPEG of up to twice
# as many is decoded where a smaller one is wanted; beyond that, its coefficients take gigabytes.
MAX_PIXELS = 100_000_000
TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIGNATURE_BYTES = 16
STRIP_PIXELS = 2**20  # that are converted at a time: of all, there would be several copies
# Modes whose conversion ends what a profile says: of inks it says nothing of colors, and of LAB
# Pillow writes one itself, with the time of day in it.
WITHOUT_PROFILE = {"CMYK", "LAB"}
ITEM_SIZE = re.compile(rb"ispe\0{4}(.{8})", re.DOTALL)  # width and height of an item of a container

Result = TypeVar("Result")


class UndecodableError(Exception):
    """Bytes that are not decoded. Its text is the reason: what is wrong, and details in brackets.

    advice: what is allowed, or what to do.
    """

    def __init__(self, reason: str, *, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


@dataclass(frozen=True)
class Header:
    """What an image says of itself: Pillow's name of its format, and its size before it is turned.

    A JPEG with a second image in it is a JPEG.
    """

    format: str
    width: int
    height: int


def decode(encoded: bytes, *, least_size: tuple[int, int] | None = None) -> Image.Image:
    """Return the RGB image in `encoded`: upright, transparency on white; the first of several.

    Of the metadata, the orientation alone is read; broken or large metadata do no harm.

    least_size: a JPEG is decoded at an eighth, a quarter or a half of its size, which takes a
        fraction of the time and memory, where that is at least this width and height.

    Raises:
        UndecodableError: the bytes are empty, not an image of FORMATS, or not a whole one, or it
            has more than MAX_PIXELS.
    """
    image, turn = inspect(encoded, lambda opened: _decode(opened, least_size))
    return image if turn is None else image.transpose(turn)


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Return the RGB image that `decode` would of the file of an image that is open or decoded.

    It is turned as its EXIF says, which stays with it when its pixels are changed: who has turned
    them drops it, as ImageOps.exif_transpose does.

    Raises:
        UndecodableError: it is closed, not whole, without pixels, or of a rare mode.
    """
    try:
        image.load()
        if not image.width * image.height:
            raise ValueError(f"{image.width} x {image.height} pixels")
        rgb, turn = _to_rgb(image), _find_turn(image)
    except Exception as error:  # as of `inspect`; closed, it is one of several
        details = " ".join(str(error).split()) or type(error).__name__
        advice = "give a whole image that is not closed"
        raise UndecodableError(f"cannot be decoded ({details})", advice=advice) from None
    return rgb if turn is None else rgb.transpose(turn)


def read_header(encoded: bytes) -> Header:
    """Return what an image says of itself, without decoding it; raises as `decode`, but for size.

    More than twice MAX_PIXELS are refused here too.
    """
    return inspect(encoded, lambda opened: Header(format_of(opened), *opened.size))


def inspect(encoded: bytes, look: Callable[[ImageFile.ImageFile], Result]) -> Result:
    """Return what `look` makes of an image that is opened, but not decoded, which `look` may do.

    Where metadata are in the way, `look` is called again without them. Raises as `read_header`.
    """
    _set_up_pillow()
    if not encoded:
        raise UndecodableError("empty", advice=f"allowed: an image ({FORMAT_NAMES})")
    for size in _item_sizes(encoded):
        _check_size(*size)
    try:
        return _open_and(look, encoded)
    except UndecodableError:
        raise
    except Image.DecompressionBombError:  # Pillow does not say how many
        raise _too_many(f"more than {2 * MAX_PIXELS // 10**6} million") from None
    except UnidentifiedImageError:
        if has_signature(encoded):
            raise _damaged("its header cannot be read") from None
        raise UndecodableError("not an image", advice=f"allowed: {FORMAT_NAMES}") from None
    except Exception as error:  # Pillow's decoders raise many types of errors on damaged bytes
        raise _damaged(" ".join(str(error).split()) or type(error).__name__) from None


def format_of(opened: ImageFile.ImageFile) -> str:
    """Return a format of FORMATS: an MPO, of two lenses or with a preview, is a JPEG with others
    behind it."""
    return "JPEG" if opened.format == "MPO" else str(opened.format)


def sizes_in_memory(opened: ImageFile.ImageFile, encoded: bytes) -> list[tuple[int, int]]:
    """Return the sizes of all that is decoded whole: the image; a TIFF's tile, which may be the
    larger; and what an AVIF or HEIC holds before it is cropped."""
    tags = getattr(opened, "tag_v2", {})
    tile = (tags.get(ExifTags.Base.TileWidth, 1), tags.get(ExifTags.Base.TileLength, 1))
    return [opened.size, tile, *_item_sizes(encoded)]


def is_image_file(path: Path) -> bool:
    """Return whether a file is one of FORMATS: by its suffix, or if that tells nothing of what it
    is, or there is none, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in OTHER_IMAGES | NO_IMAGES:
        return suffix in SUFFIXES
    if not path.is_file():  # to open a pipe would wait for what is written to it
        return False
    try:
        with path.open("rb") as file:
            return has_signature(file.read(SIGNATURE_BYTES))
    except OSError:
        return False


def has_signature(encoded: bytes) -> bool:
    """Return whether an image begins as one of FORMATS does."""
    _set_up_pillow()
    Image.init()  # imports the plugins, which takes long; `Image.open` does so where it needs one
    accepts = (Image.OPEN[name][1] for name in FORMATS)
    return any(accept is not None and accept(encoded[:SIGNATURE_BYTES]) for accept in accepts)


def kind_of(reason: str) -> str:
    """Return a reason without its details, to count by.

    >>> kind_of("damaged (image file is truncated (3 bytes not processed))"), kind_of("empty")
    ('damaged', 'empty')
    """
    return reason.partition(" (")[0]


@cache
def _set_up_pillow() -> None:
    """Set once for the process what Pillow has as global state; none of it is ever changed back.

    Its own limit of pixels, at twice of which it refuses, is ours, and its warnings are off: they
    are about metadata, which nothing here uses, and about sizes below our limit.
    """
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _open_and(look: Callable[[ImageFile.ImageFile], Result], encoded: bytes) -> Result:
    """Return what `look` makes of the image; where metadata are in the way, of it without them."""
    try:
        return _look_once(look, encoded)
    except (UndecodableError, Image.DecompressionBombError):
        raise
    except Exception as error:
        failed = error.with_traceback(None)  # its frames keep the pixels decoded before it
        failed.__cause__ = failed.__context__ = None
    bare = drop_metadata(encoded)
    if bare == encoded:
        raise failed
    return _look_once(look, bare)


def _look_once(look: Callable[[ImageFile.ImageFile], Result], encoded: bytes) -> Result:
    with Image.open(io.BytesIO(encoded), formats=tuple(FORMATS)) as opened:
        return look(opened)


def _decode(
    opened: ImageFile.ImageFile, least_size: tuple[int, int] | None
) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the RGB image, and how it is turned: later, when what it was made of is free."""
    if least_size is not None and format_of(opened) == "JPEG":
        opened.draft(None, least_size)
    for size in sizes_in_memory(opened, b""):  # `inspect` has checked those of a container
        _check_size(*size)
    opened.load()
    return _to_rgb(opened), _find_turn(opened)


def _item_sizes(encoded: bytes) -> Iterator[tuple[int, int]]:
    if encoded[4:8] == b"ftyp":
        for match in ITEM_SIZE.finditer(encoded):
            yield struct.unpack(">II", match[1])


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many(f"{width} x {height}")


def _find_turn(opened: Image.Image) -> Image.Transpose | None:
    """Return what makes it upright. (ImageOps.exif_transpose rewrites EXIF, and fails on rubbish.)

    opened: loaded, as what is behind the pixels of a PNG is read with them.
    """
    try:
        return TURNS.get(opened.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises many types of errors on broken EXIF
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the RGB image, of the same pixels in memory where it is one: copies take gigabytes."""
    if image.mode[0] in "IF":  # more than 8 bits of gray, which Pillow would clip to white
        image = Image.fromarray(to_levels(np.asarray(image)))
    if image.mode == "RGB" and not image.has_transparency_data:
        return image._new(image.im)  # as `copy` does, which copies the pixels too
    transparent = image.has_transparency_data
    rgb = Image.new("RGB", image.size, "white")
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = strip.convert("RGBA" if transparent else "RGB")
        rgb.paste(strip, (0, top), strip.getchannel("A") if transparent else None)
        rgb.info = {} if transparent or image.mode in WITHOUT_PROFILE else strip.info
    return rgb


def _damaged(details: str) -> UndecodableError:
    return UndecodableError(f"damaged ({details})", advice="give the whole image")


def _too_many(found: str) -> UndecodableError:
    return UndecodableError(
        f"too many pixels ({found})",
        advice=f"allowed: at most {MAX_PIXELS // 10**6} million; make the image smaller",
    )
