"""Images without labels, which are only searched: of a folder, as files and in Parquet files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.class_folders import walk_images
from pipeline.datasets.parquet_images import is_parquet, read_unlabelled
from pipeline.datasets.source_files import relative_name, walk_files
from pipeline.datasets.source_image import SourceImage

PREFIX = "added/"  # of the image_ids, so that none is that of an image with labels


def read_added(source: Path) -> Iterator[SourceImage]:
    """Yield the images of a folder and of each Parquet file in it; or of one Parquet file.

    Raises:
        UserError: a name is not UTF-8; or as `read_unlabelled`.
    """
    if source.is_file():
        yield from read_unlabelled(source, name=PREFIX + source.name)
        return
    for image_id, path in list_added(source):
        yield SourceImage(path=image_id, labels=(), read=partial(Path.read_bytes, path))
    for path in filter(is_parquet, walk_files(source)):
        yield from read_unlabelled(path, name=PREFIX + relative_name(path, source))


def list_added(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the image_id and the file of each image file of a folder; raises as `read_added`."""
    for path in walk_images(folder):
        yield PREFIX + relative_name(path, folder), path
