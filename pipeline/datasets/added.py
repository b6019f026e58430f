"""Images without labels, which are only searched: of a folder, as files and in Parquet files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.class_folders import walk_images
from pipeline.datasets.parquet_images import read_unlabelled
from pipeline.datasets.source_files import PARQUET, relative_name, walk_files
from pipeline.datasets.source_image import SourceImage

PREFIX = "added/"  # of the image_ids, so that none is that of an image with labels


def read_added(folder: Path) -> Iterator[SourceImage]:
    """Yield the images of a folder, and of each Parquet file in it.

    Raises:
        UserError: a name is not UTF-8, or a Parquet file has no images.
    """
    for image_id, path in list_added(folder):
        yield SourceImage(path=image_id, labels=(), read=partial(Path.read_bytes, path))
    for path in walk_files(folder):
        if path.suffix.lower() == PARQUET:
            yield from read_unlabelled(path, name=PREFIX + relative_name(path, folder))


def list_added(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the image_id and the file of each image file of a folder; raises as `read_added`."""
    for path in walk_images(folder):
        yield PREFIX + relative_name(path, folder), path
