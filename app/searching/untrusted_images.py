"""Untrusted images: uploads and files, decoded within limits of bytes and pixels."""

import io
import logging
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.data.shards import to_rgb
from pipeline.datasets.class_folders import (
    SUFFIXES,
    count_unread_images,
    describe_unread,
    walk_images,
)
from pipeline.errors import UserError, one_line
from pipeline.packing.decoding import register_heic

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 100_000_000
# Pillow can open more formats, some of them by starting another program.
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "TIFF")
COMMON_FORMATS = "JPEG, PNG, WebP, BMP, HEIC"

logger = logging.getLogger(__name__)


def ignore_pillow_size_warnings() -> None:
    """Turn off Pillow's warnings about photos with fewer pixels than `decode_photo` refuses.

    For the whole process, so call it once, at the start: threads share the warning filters, and a
    filter that one of them sets and removes would change those of the others.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def decode_photo(encoded: bytes, *, name: str) -> Image.Image:
    """Return the RGB image in `encoded`, EXIF rotation applied; of an animation the first frame.

    Raises:
        UserError: in one line that begins with `name`: the bytes are empty, not an image, damaged,
            or too many, or the image has too many pixels (by its header, before decoding).
    """
    if not encoded:
        raise UserError(f"{name}: the file is empty; allowed: an image ({COMMON_FORMATS})")
    _check_bytes(len(encoded), name=name)
    register_heic()
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            _check_pixels(*opened.size, name=name)
            return to_rgb(opened)
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image; allowed: {COMMON_FORMATS}") from None
    except Image.DecompressionBombError:  # so many that Pillow does not return the size
        raise _too_many_pixels("far too many pixels", name=name) from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many types of errors on damaged bytes
        raise UserError(f"{name}: damaged ({one_line(error)}); give the whole image") from None


def read_photo(path: Path) -> Image.Image:
    """Return the RGB image in a file; raises as `decode_photo`, or where it cannot be read."""
    name = escape_unprintable(str(path))
    try:
        status = path.stat()
        # Opening a pipe would wait until another program writes to it.
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise UserError(f"{name}: not a file; allowed: image files, and folders of them")
        _check_bytes(status.st_size, name=name)
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    return decode_photo(encoded, name=name)


def escape_unprintable(text: str) -> str:
    """Return `text` in one line: line breaks and all that cannot be printed as escapes.

    A file name may be any bytes but a slash; Python keeps those that are not UTF-8 as lone
    surrogates, which can be neither printed nor written to a table.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths`, whatever they hold, and the image files in its folders.

    Of folders, the files that `download` reads of one: with subfolders, in the order of names,
    without hidden files. Images in other formats are counted and logged.

    Raises:
        UserError: there is no such file, or a folder holds no image file.
    """
    photos: list[Path] = []
    for path in paths:
        if not path.exists():
            name = escape_unprintable(str(path))
            raise UserError(f"{name}: no such file; allowed: image files, and folders of them")
        if path.is_dir():
            photos += _find_in_folder(path)
        else:
            photos.append(path)
    return list(dict.fromkeys(photos))


def _find_in_folder(folder: Path) -> list[Path]:
    photos = list(walk_images(folder))
    if unread := count_unread_images(folder):
        logger.warning("%s: %s", folder, describe_unread(unread))
    if not photos:
        suffixes = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise UserError(f"{folder}: found no images; allowed: files that end in {suffixes}")
    return photos


def _check_bytes(count: int, *, name: str) -> None:
    if count > MAX_BYTES:
        raise UserError(
            f"{name}: found {count / 2**20:,.1f} MiB; allowed: at most {MAX_BYTES // 2**20} MiB; "
            "make the image smaller"
        )


def _check_pixels(width: int, height: int, *, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width} x {height} pixels", name=name)


def _too_many_pixels(found: str, *, name: str) -> UserError:
    return UserError(
        f"{name}: found {found}; allowed: at most {MAX_PIXELS // 10**6} million; "
        "make the image smaller"
    )
