"""Packs encoded images as they are, without a dataset."""

from pathlib import Path

from pipeline.data.files import unfinished_in
from pipeline.data.image_rows import ImageFacts, ImageRow, RowWriter
from pipeline.data.packed_images import PackedImages, write_images

NO_FACTS = ImageFacts(pixels="", perceptual_hash=0, colors=b"", color_range=0, sharpness=0.0)


class Packer:
    """Packs the images that are added into the buckets of a folder, when it is closed."""

    def __init__(self, folder: Path, *, buckets: int = 1) -> None:
        self._folder, self._buckets = folder, buckets
        self._encoded: dict[str, bytes] = {}

    def add(self, image_id: str, encoded: bytes) -> None:
        self._encoded[image_id] = encoded

    def close(self) -> None:
        with unfinished_in(self._folder.parent) as beside:
            with RowWriter(beside / "rows") as writer:
                stored = {
                    image_id: writer.add(ImageRow(image_id, encoded, 0, 0, NO_FACTS))
                    for image_id, encoded in self._encoded.items()
                }
            write_images(stored, self._folder, buckets=self._buckets)


def packed(folder: Path, **images: bytes) -> PackedImages:
    """Return encoded images, by image_id, packed in `folder`."""
    packer = Packer(folder)
    for image_id, encoded in images.items():
        packer.add(image_id, encoded)
    packer.close()
    return PackedImages(folder)
