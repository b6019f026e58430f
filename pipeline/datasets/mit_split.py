"""MIT_split: 8 kinds of scene, 1,881 training and 807 test images of 256 x 256 pixels.

A subset of the scenes of Oliva and Torralba, "Modeling the Shape of the Scene" (IJCV 2001), as
the Master in Computer Vision Barcelona distributes it. The test images are the queries, the
training images the gallery.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.datasets.class_folders import (
    class_images,
    count_unread_images,
    split_folders,
    tell_loose,
)
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import folders_within
from pipeline.datasets.source_files import subfolders
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.subset import SubsetOptions

ROLES = {"train": "train+gallery", "test": "query"}


class MitSplitOptions(SubsetOptions):
    url: str | None
    sha256: str | None


def read_images(source: Path, _options: MitSplitOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of `source`: the folder MIT_split, or one that holds it.

    Raises:
        UserError: there is no train/ or no test/.
    """
    root = _root(source)
    splits = split_folders(subfolders(root))
    for name, roles in ROLES.items():
        if name not in splits:
            raise NoImagesError(
                f"{root}: found no {name}/; allowed for data.name mit_split: the folder MIT_split "
                "or its .tar, with train/<class> and test/<class>; set data.source to it"
            )
        for folder in splits[name]:
            yield from class_images(folder, root=root, source_split=roles)


def archives(options: MitSplitOptions) -> Mapping[str, str | None]:
    """Return {URL: checksum} of the archive to fetch instead of the source, if one is given."""
    if options.url is None:
        return {}
    return {options.url: None if options.sha256 is None else f"sha256:{options.sha256}"}


def count_unread(source: Path, _options: MitSplitOptions) -> Mapping[str, int]:
    """Return {suffix: number} of the images in formats that are not read."""
    return count_unread_images(_root(source))


def _root(source: Path) -> Path:
    """Return the folder with the splits, `source` or one below it; `source` if there is none."""
    folders = folders_within(source)
    return next((each for each in folders if split_folders(subfolders(each))), source)


MIT_SPLIT = Dataset(
    options=MitSplitOptions,
    read_images=read_images,
    archives=archives,
    count_unread=count_unread,
    tell_unlabelled=tell_loose,
)
