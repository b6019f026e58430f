"""Images in folders that are named after their classes, the layout of most datasets."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

# What is read of a folder, by `download` as by `lookalike query`.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif")
# Images too, but not read; `download` warns that they are missing.
UNREAD_SUFFIXES = (".avif", ".gif", ".tif", ".tiff")


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image: a known suffix in any case, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in `folder`, sorted by name, hidden ones left out."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def class_images(
    folder: Path, *, root: Path, source_split: str | None = None
) -> Iterator[SourceImage]:
    """Yield the images below each class folder of `folder`, at any depth, sorted by name.

    Paths are relative to `root`. Other files are ignored.

    Raises:
        UserError: an image is directly in `folder`, so in no class, or a name is not UTF-8.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image(path):
            raise UserError(
                f"{path}: an image outside of any class folder; allowed: {folder}/<class>/"
                f"{path.name}; move it into the folder of its class"
            )
    for class_folder in subfolders(folder):
        for path in walk_images(class_folder):
            yield SourceImage(
                path=relative_name(path, root),
                labels=(class_folder.name,),
                read=partial(Path.read_bytes, path),
                source_split=source_split,
            )


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the images below `folder`, sorted, hidden files and folders left out."""
    yield from (path for path in _walk(folder) if is_image(path))


def count_unread_images(folder: Path) -> Mapping[str, int]:
    """Return {suffix: number} of the files below `folder` with a suffix of UNREAD_SUFFIXES."""
    suffixes = (path.suffix.lower() for path in _walk(folder))
    return Counter(suffix for suffix in suffixes if suffix in UNREAD_SUFFIXES)


def describe_unread(numbers: Mapping[str, int]) -> str:
    """Return the line about files that were not read, by suffix.

    >>> describe_unread({".tif": 1, ".gif": 2})
    'left out 2 .gif, 1 .tif; allowed: .jpg, .jpeg, .png, .webp, .bmp, .heic, .heif; convert them'
    """
    found = ", ".join(f"{numbers[suffix]} {suffix}" for suffix in sorted(numbers))
    return f"left out {found}; allowed: {', '.join(SUFFIXES)}; convert them"


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def relative_name(path: Path, root: Path) -> str:
    """Return `path` relative to `root`, with forward slashes."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{name.encode('utf-8', 'backslashreplace').decode()}: the name is not UTF-8; "
            "rename the file"
        ) from None
    return name
