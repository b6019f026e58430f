"""MIT_split: 8 kinds of scene, 1,881 training and 807 test images of 256 x 256 pixels.

A subset of the scenes of Oliva and Torralba, "Modeling the Shape of the Scene" (IJCV 2001), as
the Master in Computer Vision Barcelona hands it out. Retrieval searches the training images
for each test image.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.choices import Count, Options
from pipeline.datasets.class_folders import class_images, count_passed_over
from pipeline.datasets.source_image import NoImagesError, SourceImage

OPTIONS: Options = {"url": str | None, "sha256": str | None, "max_images": Count | None}

ROLES = {"train": "train+gallery", "test": "query"}


def read_images(source: Path, options: Mapping[str, Any], *, seed: int) -> Iterator[SourceImage]:  # noqa: ARG001
    """Yield the images of `source`: the folder MIT_split, or one that holds it.

    Raises:
        UserError: there is no train/ or no test/.
    """
    root = _root(source)
    for name, roles in ROLES.items():
        if not (root / name).is_dir():
            raise NoImagesError(
                f"{root}: found no {name}/; allowed for data.name mit_split: the folder MIT_split "
                "or its .tar, with train/<class> and test/<class>; set data.source to it"
            )
        yield from class_images(root / name, root=root, source_split=roles)


def archives(options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return URL -> checksum of the archive to fetch in place of the source, if one is given."""
    if options["url"] is None:
        return {}
    sha256 = options["sha256"]
    return {options["url"]: None if sha256 is None else f"sha256:{sha256}"}


def passed_over(source: Path, options: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many likely images of `source` are of a suffix that is not read, by suffix."""
    del options
    return count_passed_over(_root(source))


def _root(source: Path) -> Path:
    inner = source / "MIT_split"
    return inner if inner.is_dir() else source
