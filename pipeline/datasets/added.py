"""Images without labels, which are only searched: a folder of them, with folders in it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.class_folders import walk_images
from pipeline.datasets.source_files import relative_name
from pipeline.datasets.source_image import SourceImage

PREFIX = "added/"  # of the image_ids, so that none is that of an image with labels


def read_added(folder: Path) -> Iterator[SourceImage]:
    """Yield the images of a folder.

    Raises:
        UserError: a name is not UTF-8.
    """
    for image_id, path in list_added(folder):
        yield SourceImage(path=image_id, labels=(), read=partial(Path.read_bytes, path))


def list_added(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the image_id and the file of each image of a folder; raises as `read_added`."""
    for path in walk_images(folder):
        yield PREFIX + relative_name(path, folder), path
