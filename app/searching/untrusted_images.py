"""Images from the world: uploads and files that nobody has checked."""

import io
import stat
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.data.shards import to_rgb
from pipeline.errors import UserError

MOST_BYTES = 32 * 2**20
MOST_PIXELS = 100_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif")
# Pillow can open more, some of it by programs that it starts.
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "TIFF")
KINDS = "JPEG, PNG, WebP, HEIC"


def expect_large_photos() -> None:
    """Have Pillow keep quiet about photos with fewer pixels than `decode_photo` refuses.

    For the whole process, so a program says it once as it starts: filters that each thread sets and
    takes back would undo those of others.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def decode_photo(encoded: bytes, *, name: str) -> Image.Image:
    """Return the RGB image in `encoded`, EXIF rotation applied; of an animation the first frame.

    Raises:
        UserError: in one line that begins with `name`: there is nothing, it is no image, is
            damaged, or has too many bytes or pixels (which its header tells, before decoding).
    """
    if not encoded:
        raise UserError(f"{name}: the file is empty; allowed: an image ({KINDS})")
    _check_bytes(len(encoded), name=name)
    _teach_heic()
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            _check_pixels(*opened.size, name=name)
            return to_rgb(opened)
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image; allowed: {KINDS}") from None
    except Image.DecompressionBombError:  # so many that Pillow does not even tell
        raise _too_many("far too many pixels", name=name) from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: damaged ({reason}); give the whole image") from None


def read_photo(path: Path) -> Image.Image:
    """Return the RGB image in a file; raises as `decode_photo`, and where it cannot be read."""
    name = show_name(str(path))
    try:
        about = path.stat()
        # To open a pipe would wait for whoever writes to it.
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            raise UserError(f"{name}: not a file; allowed: files of images, and folders of them")
        _check_bytes(about.st_size, name=name)
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    return decode_photo(encoded, name=name)


def show_name(name: str) -> str:
    """Return a file's name as one line of text: what is no character, or moves the line, escaped.

    A name may be any bytes but a slash; Python keeps those that are no UTF-8 as half characters,
    which can be neither printed nor kept in a table.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in name
    )


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths` as they are, and those of its folders that hold images.

    A folder is searched with all that is in it, in the order of names; what is hidden is left out.

    Raises:
        UserError: a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _search(path)
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _search(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise UserError(f"{folder}: found no images; allowed: files that end in {_list(SUFFIXES)}")
    return found


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _check_bytes(count: int, *, name: str) -> None:
    if count > MOST_BYTES:
        raise UserError(
            f"{name}: found {count / 2**20:,.1f} MiB; allowed: at most {MOST_BYTES // 2**20} MiB; "
            "shrink it"
        )


def _check_pixels(width: int, height: int, *, name: str) -> None:
    if width * height > MOST_PIXELS:
        raise _too_many(f"{width} x {height} pixels", name=name)


def _too_many(found: str, *, name: str) -> UserError:
    return UserError(
        f"{name}: found {found}; allowed: at most {MOST_PIXELS // 10**6} million; shrink it"
    )


@cache
def _teach_heic() -> None:
    """Have Pillow open HEIC, which it does not by itself."""
    import pillow_heif

    pillow_heif.register_heif_opener()
