"""Images in folders that are named after their classes, the layout of most datasets."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline.data.class_names import NAMED, name_some
from pipeline.data.decoding import FORMAT_NAMES, is_image_file
from pipeline.data.other_suffixes import NO_IMAGES
from pipeline.datasets.source_files import (
    files_in,
    is_hidden,
    relative_name,
    subfolders,
    walk_files,
)
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

logger = logging.getLogger(__name__)

# What people call the folders of a split, and of a table its rows; in any case.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def is_image(path: Path) -> bool:
    """Return whether a file is one of the decoder's formats, and not hidden."""
    return not is_hidden(path.name) and is_image_file(path)


def class_images(
    folder: Path, *, root: Path, source_split: str | None = None
) -> Iterator[SourceImage]:
    """Yield the images of `folder`: first those directly in it, then those of its folders.

    A class is a folder directly in `folder`: the images of all folders below it are of that class.
    An image directly in `folder` has no labels. Paths are relative to `root`. Other files are
    ignored, and class folders without images logged.

    Raises:
        UserError: a name is not UTF-8, or a folder cannot be read.
    """
    yield from loose_images(folder, root=root, source_split=source_split)
    for class_folder in subfolders(folder):
        for path in walk_images(class_folder):
            yield _image(path, root, labels=(class_folder.name,), source_split=source_split)
    if empty := [each for each in subfolders(folder) if next(walk_images(each), None) is None]:
        names = [each.relative_to(root).as_posix() for each in empty]
        logger.warning("found no images in the folders %s", name_some(names))


def loose_images(
    folder: Path, *, root: Path, source_split: str | None = None
) -> Iterator[SourceImage]:
    """Yield the images directly in `folder`, which are in no class folder, without labels."""
    for path in filter(is_image, files_in(folder)):
        yield _image(path, root, labels=(), source_split=source_split)


def tell_loose(images: Sequence[SourceImage], source: str) -> None:
    """Warn of images in no class folder, which are left out where others are in one.

    Raises:
        UserError: they are as many as the others, or more: the folders are no classes then.
    """
    loose = [image.path for image in images if not image.labels]
    labelled = len(images) - len(loose)
    if not loose or not labelled:
        return
    name, classes = min(loose), {label for image in images for label in image.labels}
    found = (
        f"{source}: found {_count_images(loose)} in no class folder ('{name}' is the first) and "
        f"{labelled} in class folders ({name_some(classes)})"
    )
    if len(loose) >= labelled:
        raise UserError(
            f"{found}; allowed: fewer in none, which are left out; move them into class folders, "
            "or set data.source to a folder of images without subfolders"
        )
    logger.warning("%s; left out what is in none; to keep it, move it into class folders", found)


def _count_images(paths: Sequence[str]) -> str:
    return f"{len(paths)} image{'' if len(paths) == 1 else 's'}"


def _image(
    path: Path, root: Path, *, labels: tuple[str, ...], source_split: str | None
) -> SourceImage:
    return SourceImage(
        path=relative_name(path, root),
        labels=labels,
        read=partial(Path.read_bytes, path),
        source_split=source_split,
    )


def split_of(name: str) -> str | None:
    """Return the split that a folder or a table calls `name`: train, val, test, or None.

    >>> split_of("Train"), split_of("VALID"), split_of("testing"), split_of("trains")
    ('train', 'val', 'test', None)
    """
    return SPLIT_NAMES.get(name.lower())


def split_folders(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return {split: those of `folders` that `split_of` knows by their names}."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if split := split_of(folder.name):
            found.setdefault(split, []).append(folder)
    return found


def image_folders(folder: Path) -> list[Path]:
    """Return the folders directly in `folder` that hold an image, at any depth."""
    return [inner for inner in subfolders(folder) if next(walk_images(inner), None)]


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the images below `folder`, sorted, hidden files and folders left out."""
    yield from (path for path in walk_files(folder) if is_image(path))


def count_unread_images(folder: Path) -> Mapping[str, int]:
    """Return {suffix: number} of the files below `folder` that are, or may be, other images."""
    return Counter(path.suffix.lower() for path in walk_files(folder) if _may_be_other_image(path))


def _may_be_other_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix not in NO_IMAGES | {""} and not is_image_file(path)


def describe_unread(numbers: Mapping[str, int]) -> str:
    """Return the line about files that were not read, by suffix: the most frequent of them.

    >>> describe_unread({".psd": 1, ".dng": 2})
    'left out 2 .dng, 1 .psd; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC; convert them'
    """
    most = sorted(numbers, key=lambda suffix: (-numbers[suffix], suffix))
    found = ", ".join(f"{numbers[suffix]} {suffix}" for suffix in sorted(most[:NAMED]))
    if others := sum(numbers[suffix] for suffix in most[NAMED:]):
        found += f", {others} of {len(most) - NAMED} other suffixes"
    return f"left out {found}; allowed: {FORMAT_NAMES}; convert them"
