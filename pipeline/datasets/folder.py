"""A person's own images: class folders, train and test folders of them, or a table."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.datasets.class_folders import (
    SUFFIXES,
    class_images,
    count_unread_images,
    subfolders,
    walk_images,
)
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.subset import SubsetOptions
from pipeline.datasets.table import table_images
from pipeline.errors import UserError

# Each test image is a query, and the other test images are its gallery, as in metric learning.
ROLES = {"train": "train", "val": "val", "test": "query+gallery"}


class FolderOptions(SubsetOptions):
    table: str | None


def read_images(source: Path, options: FolderOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of `source`, in one of the layouts of images/README.md.

    Raises:
        UserError: no layout fits, there are no images, or the table is wrong.
    """
    if options.table is not None:
        yield from table_images(source / options.table, root=source)
        return
    root = _enter_lone_folder(source)
    if next(walk_images(root), None) is None:
        raise NoImagesError(
            f"{source}: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg and "
            f"test/<class>/*.jpg, or a table (data.folder.table), of {', '.join(SUFFIXES)}; put "
            "some there (see images/README.md)"
        )
    names = {folder.name for folder in subfolders(root)}
    if names & set(ROLES) == {"train"} or not names & {"train", "test"}:
        yield from class_images(root, root=root)
        return
    _check_split_folders(root, names)
    for name in (name for name in ROLES if name in names):
        yield from class_images(root / name, root=root, source_split=ROLES[name])


def count_unread(source: Path, options: FolderOptions) -> Mapping[str, int]:
    """Return {suffix: number} of the images in formats that are not read; {} for a table."""
    return {} if options.table is not None else count_unread_images(source)


def _enter_lone_folder(source: Path) -> Path:
    # An archive often holds one folder that holds everything. A lone folder without subfolders is
    # the only class.
    inside = subfolders(source)
    if len(inside) == 1 and subfolders(inside[0]):
        return _enter_lone_folder(inside[0])
    return source


def _check_split_folders(root: Path, names: set[str]) -> None:
    missing = sorted({"train", "test"} - names)
    others = sorted(names - set(ROLES))
    if missing:
        raise UserError(
            f"{root}: found {', '.join(sorted(names & set(ROLES)))} but no {missing[0]}; allowed: "
            "train and test (and optionally val), each with one folder for each class, or class "
            f"folders alone; add {missing[0]}"
        )
    if others:
        raise UserError(
            f"{root}: found '{others[0]}' beside train and test; allowed beside them: val; move it "
            "out, or into train and test"
        )


FOLDER = Dataset(options=FolderOptions, read_images=read_images, count_unread=count_unread)
