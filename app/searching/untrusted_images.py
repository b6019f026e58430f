"""Untrusted images: files, decoded within limits of bytes and pixels."""

import logging
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from pipeline.data.decoding import FORMAT_NAMES, UndecodableError, decode
from pipeline.datasets.class_folders import count_unread_images, describe_unread, walk_images
from pipeline.errors import UserError, escape_unprintable

MAX_BYTES = 32 * 2**20

logger = logging.getLogger(__name__)


def decode_photo(encoded: bytes, *, name: str, side: int | None = None) -> Image.Image:
    """Return the RGB image in `encoded`, EXIF rotation applied; of an animation the first frame.

    side: as of `PackedImages.decode_small`; None: it is decoded at its own size.

    Raises:
        UserError: in one line that begins with `name`: the bytes are empty, not an image, damaged,
            or too many, or the image has too many pixels (by its header, before decoding).
    """
    _check_bytes(len(encoded), name=name)
    with named_errors(name):
        return decode(encoded, least_size=None if side is None else (side, side))


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn an UndecodableError into a UserError of one line that begins with `name`."""
    try:
        yield
    except UndecodableError as error:
        raise UserError(f"{name}: {error}; {error.advice}") from None


def read_photo(path: Path, *, side: int | None = None) -> Image.Image:
    """Return the RGB image in a file; raises as `decode_photo`, or where it cannot be read.

    side: as of `decode_photo`.
    """
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
    return decode_photo(encoded, name=name, side=side)


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
        raise UserError(f"{folder}: found no images; allowed: {FORMAT_NAMES}; put some there")
    return photos


def _check_bytes(count: int, *, name: str) -> None:
    if count > MAX_BYTES:
        raise UserError(
            f"{name}: found {count / 2**20:,.1f} MiB; allowed: at most {MAX_BYTES // 2**20} MiB; "
            "make the image smaller"
        )
