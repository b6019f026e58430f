"""The images that the last run packed, and what each was made from: they are not made again.

They are kept beside the outputs of the stage, which DVC removes before it runs.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from pipeline.data.files import link_or_copy, written_whole
from pipeline.data.image_rows import StoredImage
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import SOURCES, read_table, write_table
from pipeline.errors import UserError

FILES, TABLE = "images", "sources.parquet"

logger = logging.getLogger(__name__)


class KeptImages:
    """The images in `folder`. None at all where it is None or empty, or cannot be read."""

    def __init__(self, folder: Path | None) -> None:
        self._images: PackedImages | None = None
        self._source_of: dict[str, bytes] = {}
        if folder is None or not folder.is_dir():
            return
        try:
            self._images = PackedImages(folder / FILES)
            table = read_table(folder / TABLE, SOURCES)
        except UserError as error:
            logger.info("all images are packed anew, because of those kept: %s", error)
            return
        ids, sources = (table[name].to_pylist() for name in ("image_id", "source"))
        self._source_of = dict(zip(ids, sources, strict=True))

    def find(self, image_id: str, source: bytes) -> StoredImage | None:
        """Return an image that was made from `source` and is whole, None if there is none."""
        if self._images is None or self._source_of.get(image_id) != source:
            return None
        try:
            self._images.read(image_id)  # raises where a byte has changed
        except UserError:
            return None
        return self._images.locate(image_id)


def keep_images(folder: Path, images: Path, source_of: Mapping[str, bytes]) -> None:
    """Keep in `folder` the packed `images`, and no others. source_of: by image_id."""
    with written_whole(folder) as (unfinished,):
        (unfinished / FILES).mkdir(parents=True)
        for path in images.iterdir():
            link_or_copy(path, unfinished / FILES / path.name)
        columns = {"image_id": list(source_of), "source": list(source_of.values())}
        table = pa.table(columns, schema=pa.schema(SOURCES.columns))
        write_table(table, unfinished / TABLE, SOURCES)
