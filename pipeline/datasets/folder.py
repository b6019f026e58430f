"""A person's own images: class folders, train and test folders of them, or a table."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.choices import Count, Options
from pipeline.datasets.class_folders import (
    class_images,
    count_passed_over,
    subfolders,
    walk_images,
)
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.table import table_images
from pipeline.errors import UserError

OPTIONS: Options = {"table": str | None, "max_images": Count | None}

# Test images are searched among themselves, as is usual in metric learning.
ROLES = {"train": "train", "val": "val", "test": "query+gallery"}


def read_images(source: Path, options: Mapping[str, Any], *, seed: int) -> Iterator[SourceImage]:  # noqa: ARG001
    """Yield the images of `source`, in whichever of the layouts of images/README.md it has.

    Raises:
        UserError: no layout fits, there are no images, or the table is wrong.
    """
    if options["table"] is not None:
        yield from table_images(source / options["table"], root=source)
        return
    root = _step_in(source)
    if next(walk_images(root), None) is None:
        raise NoImagesError(
            f"{source}: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg and "
            "test/<class>/*.jpg, or a table (data.folder.table), of .jpg, .jpeg, .png, .webp or "
            ".bmp; put some there (see images/README.md)"
        )
    names = {folder.name for folder in subfolders(root)}
    if names & set(ROLES) == {"train"} or not names & {"train", "test"}:
        yield from class_images(root, root=root)
        return
    _check_split_folders(root, names)
    for name in (name for name in ROLES if name in names):
        yield from class_images(root / name, root=root, source_split=ROLES[name])


def passed_over(source: Path, options: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many likely images of `source` are of a suffix that is not read, by suffix."""
    return {} if options["table"] is not None else count_passed_over(source)


def _step_in(source: Path) -> Path:
    # An archive often holds one folder that holds everything. A lone folder without folders of
    # its own is a lone class, and stays one.
    inside = subfolders(source)
    if len(inside) == 1 and subfolders(inside[0]):
        return _step_in(inside[0])
    return source


def _check_split_folders(root: Path, names: set[str]) -> None:
    missing = sorted({"train", "test"} - names)
    others = sorted(names - set(ROLES))
    if missing:
        raise UserError(
            f"{root}: found {', '.join(sorted(names & set(ROLES)))} but no {missing[0]}; allowed: "
            "train and test (and val, if you like), each with a folder a class, or class folders "
            f"alone; add {missing[0]}"
        )
    if others:
        raise UserError(
            f"{root}: found '{others[0]}' beside train and test; allowed beside them: val; move it "
            "out, or into train and test"
        )
