"""The images that were added without labels: they are searched beside the others."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError

ADDED = "added"  # the folder of what is made of them, in data, embeddings and index
CATALOG_FILE, IMAGES_FOLDER = f"data/{ADDED}/catalog.parquet", f"data/{ADDED}/images"


def has_added(root: Path) -> bool:
    """Return whether the project at `root` has packed added images, of which there may be none.

    Raises:
        UserError: their index is there, and they are not: DVC removes them while a stage makes them
            anew, and does not bring them back where it fails.
    """
    path = root / CATALOG_FILE
    if not path.is_file() and (root / "index" / ADDED).is_dir():
        raise UserError(
            f"{path}: no such file, though index/{ADDED} is there: the stage `added` is running, "
            "or has failed; wait for it, or bring back what was there before: dvc checkout"
        )
    return path.is_file()


class AllImages:
    """Packed images of several folders, as of one: see `PackedImages`."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._parts = [PackedImages(folder) for folder in folders]

    @cached_property
    def ids(self) -> list[str]:
        """The image_id of each image."""
        return [image_id for part in self._parts for image_id in part.ids]

    def read(self, image_id: str) -> bytes:
        """Return the encoded bytes of one image."""
        return self._part_of(image_id).read(image_id)

    def decode(self, image_id: str) -> Image.Image:
        """Return one image as RGB, upright."""
        return self._part_of(image_id).decode(image_id)

    def decode_small(self, image_id: str, *, side: int) -> Image.Image:
        """Return one image as `decode` does, perhaps smaller, but not than `side` pixels."""
        return self._part_of(image_id).decode_small(image_id, side=side)

    def require(self, image_ids: Sequence[str]) -> None:
        """Raise UserError unless every one of `image_ids` has an image here."""
        first = self._parts[0]
        first.require([each for each in image_ids if self._part_of(each) is first])

    def _part_of(self, image_id: str) -> PackedImages:
        """Return the part with an image; the first, which then says so, where none has it."""
        return next((part for part in self._parts if image_id in part), self._parts[0])
