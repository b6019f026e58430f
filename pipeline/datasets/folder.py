"""A person's own images: class folders, train and test folders of them, or a table."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.data.decoding import FORMAT_NAMES
from pipeline.datasets.class_folders import (
    class_images,
    count_unread_images,
    image_folders,
    loose_images,
    split_folders,
    split_of,
    tell_loose,
    walk_images,
)
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.source_files import NamedFiles, subfolders
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.subset import SubsetOptions
from pipeline.datasets.table import table_images
from pipeline.errors import UserError, name_first

# Each test image is a query, and the other test images are its gallery, as in metric learning.
ROLES = {"train": "train", "val": "val", "test": "query+gallery"}


class FolderOptions(SubsetOptions):
    table: str | None


def read_images(source: Path, options: FolderOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of `source`, in one of the layouts of images/README.md.

    A folder around everything is stepped into, however many there are. What is then the first level
    of folders are the classes, or the splits with the classes in them; images of deeper folders
    belong to these classes, and an image in no class folder has no labels.

    Raises:
        UserError: no layout fits, there are no images, or the table is wrong.
    """
    if options.table is not None:
        yield from table_images(options.table, root=_table_root(source, options.table))
        return
    if next(walk_images(source), None) is None:
        raise NoImagesError(
            f"{source}: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg and "
            f"test/<class>/*.jpg, or a table (data.folder.table), of {FORMAT_NAMES}; put "
            "some there (see images/README.md)"
        )
    root = source
    while inner := _lone_folder(root):
        yield from loose_images(root, root=root)
        root = inner
    yield from _layout_images(root)


def _layout_images(root: Path) -> Iterator[SourceImage]:
    folders = image_folders(root)
    splits = split_folders(folders)
    if splits.keys() == {"train"} or not splits.keys() & {"train", "test"}:
        yield from class_images(root, root=root)
        return
    _check_splits(root, splits, others=[each for each in folders if split_of(each.name) is None])
    yield from loose_images(root, root=root)
    # Without test, val is for test, as in a table.
    roles = ROLES if "test" in splits else ROLES | {"val": ROLES["test"]}
    for split in (split for split in ROLES if split in splits):
        for folder in splits[split]:
            yield from class_images(folder, root=root, source_split=roles[split])


def count_unread(source: Path, options: FolderOptions) -> Mapping[str, int]:
    """Return {suffix: number} of the images in formats that are not read; {} for a table."""
    return {} if options.table is not None else count_unread_images(source)


def _lone_folder(folder: Path) -> Path | None:
    """Return the only folder with images in `folder` if it holds such folders, so is no class."""
    inside = image_folders(folder)
    return inside[0] if len(inside) == 1 and image_folders(inside[0]) else None


def _table_root(source: Path, table: str) -> Path:
    """Return the folder that the table is relative to: `source`, or what it holds alone."""
    root = source
    while NamedFiles(root).find(table) is None:
        inside = subfolders(root)
        if len(inside) != 1:
            return source
        root = inside[0]
    return root


def _check_splits(
    root: Path, splits: Mapping[str, Collection[Path]], *, others: Sequence[Path]
) -> None:
    found = " and ".join(folder.name for inside in splits.values() for folder in inside)
    if "train" not in splits:
        raise UserError(
            f"{root}: found {found} but no train; allowed: train and test (or val, or both), each "
            "with one folder for each class, or class folders alone; add train"
        )
    if others:
        raise UserError(
            f"{root}: found {name_first([path.name for path in others])} beside {found}; allowed: "
            "folders of train, val and test alone; move what is beside them out, or into them"
        )


FOLDER = Dataset(
    options=FolderOptions,
    read_images=read_images,
    count_unread=count_unread,
    tell_unlabelled=tell_loose,
)
