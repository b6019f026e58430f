"""Packed images are read through the one decoder, and a damaged one is told by its id."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.shards import PackedImages, ShardWriter
from pipeline.errors import UserError
from tests.helpers.encoded_images import FORMATS, SIZE, encode, exif_of

REMEDY = "get it back: dvc checkout, or make it again: dvc repro -f download"


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
            f"download packs them; {REMEDY}"
        )


@pytest.mark.parametrize("damage", ["empty", "cut", "end", "offsets"])
def test_a_damaged_shard_is_told_by_its_file(damage: str, tmp_path: Path) -> None:
    packed(tmp_path, **{f"{n:02}": encode("PNG") for n in range(20)})
    [path] = tmp_path.glob("*.arrow")
    whole = path.read_bytes()
    # Where the second of the offsets of the image_ids stands, each of two bytes.
    offsets = whole.index(b"\x00\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00") + 4
    path.write_bytes(
        {
            "empty": b"",
            "cut": whole[: len(whole) // 2],
            "end": whole[:-30] + bytes(30),
            "offsets": whole[:offsets] + b"\xff\xff\xff\x7f" + whole[offsets + 4 :],
        }[damage]
    )
    with pytest.raises(UserError) as caught:
        PackedImages(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{path}: damaged (")
    assert told.endswith(f"); {REMEDY}")
    assert "\n" not in told


@pytest.mark.parametrize("changed", ["image", "checksum"])
def test_a_changed_byte_of_an_image_is_told_by_its_id(changed: str, tmp_path: Path) -> None:
    """A BMP holds its pixels as they are: each byte of them is a pixel like any other."""
    bitmaps = {name: encode("BMP") for name in "ab"}
    images = packed(tmp_path, **bitmaps)
    [path] = tmp_path.glob("*.arrow")
    content = bytearray(path.read_bytes())
    assert images.read("a") == bitmaps["a"]
    at = content.index(bitmaps["a"]) + len(bitmaps["a"]) - 5
    if changed == "checksum":
        sums = pa.ipc.open_file(path).get_batch(0).column(2).buffers()[1].to_pybytes()[:4]
        at = content.rindex(sums)
    content[at] ^= 1
    path.write_bytes(content)
    images = PackedImages(tmp_path)
    assert images.read("b") == bitmaps["b"]
    with pytest.raises(UserError) as caught:
        images.read("a")
    assert str(caught.value) == (
        f"{tmp_path}: image 'a': damaged (its bytes are not those that were packed); {REMEDY}"
    )


def test_a_shard_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "00000.arrow"
    table = pa.table({"image_id": ["a"], "image": [b"x"]})
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table)
    with pytest.raises(UserError) as caught:
        PackedImages(tmp_path)
    assert str(caught.value) == (
        f"{path}: found columns image_id string or null, image binary or null; allowed: image_id "
        f"string, image binary, checksum uint32; {REMEDY}"
    )
