"""Packed images are read through the one decoder, and a damaged one is told by its id."""

from pathlib import Path

import pytest

from pipeline.data.shards import PackedImages, ShardWriter
from pipeline.errors import UserError
from tests.helpers.encoded_images import FORMATS, SIZE, encode, exif_of


def packed(folder: Path, **images: bytes) -> PackedImages:
    writer = ShardWriter(folder)
    for image_id, encoded in images.items():
        writer.add(image_id, encoded)
    writer.close()
    return PackedImages(folder)


def test_each_format_is_read_and_a_jpeg_smaller_where_that_is_enough(tmp_path: Path) -> None:
    images = packed(tmp_path, **{kind: encode(kind) for kind in FORMATS})
    assert {images.decode(kind).size for kind in FORMATS} == {SIZE}
    small = {kind: images.decode_small(kind, side=20).size for kind in FORMATS}
    assert small == dict.fromkeys(FORMATS, SIZE) | {"JPEG": (24, 20)}


def test_a_small_image_is_upright_too(tmp_path: Path) -> None:
    images = packed(tmp_path, a=encode("JPEG", exif=exif_of(6)))
    assert images.decode_small("a", side=20).size == (20, 24)


def test_an_image_that_is_damaged_is_told_by_its_id(tmp_path: Path) -> None:
    images = packed(tmp_path, a=encode("PNG")[:-200])
    for read in (images.decode, lambda image_id: images.decode_small(image_id, side=9)):
        with pytest.raises(UserError) as caught:
            read("a")
        assert str(caught.value) == (
            f"{tmp_path}: image 'a': damaged (image file is truncated); allowed: images as "
            "download packs them; run: dvc repro -f download"
        )
