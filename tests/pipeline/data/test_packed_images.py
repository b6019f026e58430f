"""Packed images are read through the one decoder, and a damaged one is told by its id."""

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.image_rows import ImageFacts, ImageRow, RowFiles, RowWriter, read_rows
from pipeline.data.packed_images import PackedImages, write_images
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from tests.helpers.encoded_images import FORMATS, SIZE, encode, exif_of
from tests.helpers.packer import NO_FACTS, Packer, packed

REMEDY = "get it back: dvc checkout, or make it again: dvc repro -f download"


def zeros(count: int) -> NDArray[np.uint64]:
    return np.zeros(count, np.uint64)


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
def test_a_damaged_bucket_is_told_by_its_file(damage: str, tmp_path: Path) -> None:
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
        sums = pa.ipc.open_file(path).get_batch(0)["checksum"].buffers()[1].to_pybytes()[:4]
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


def test_a_bucket_of_other_columns_is_refused(tmp_path: Path) -> None:
    packed(tmp_path, a=encode("PNG"))
    path = tmp_path / "00000.arrow"
    table = pa.table({"image_id": ["a"], "image": [b"x"]})
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table)
    with pytest.raises(UserError) as caught:
        PackedImages(tmp_path)
    assert str(caught.value) == (
        f"{path}: found columns image_id string or null, image binary or null; allowed: image_id "
        "string, id_digest uint64, image binary, checksum uint32, digest fixed_size_binary[32], "
        "width int32, height int32, pixels string, perceptual_hash uint64, colors binary, "
        f"color_range int32, sharpness double; {REMEDY}"
    )


def test_images_are_found_in_their_buckets(tmp_path: Path) -> None:
    encoded = {f"{n}.png": encode("PNG", Image.new("RGB", (8, 8 + n))) for n in range(40)}
    packer = Packer(tmp_path, buckets=4)
    for image_id, image in encoded.items():
        packer.add(image_id, image)
    packer.close()
    images = PackedImages(tmp_path)
    assert images.ids == [list(encoded)[row] for row in tie_order(list(encoded))]
    assert {image_id: images.read(image_id) for image_id in images.ids} == encoded
    buckets = images.manifest.buckets
    assert [bucket.number for bucket in buckets] == [0, 1, 2, 3]
    assert [image_id for bucket in buckets for image_id in images.ids_of(bucket)] == images.ids
    with pytest.raises(UserError) as caught:
        images.read("40.png")
    assert str(caught.value) == f"{tmp_path}: no image has image_id '40.png'; run: dvc repro"
    assert images.locate("40.png") is None


def test_two_image_ids_of_one_digest_are_two_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tie_order", "packed_images", "image_rows"):
        monkeypatch.setattr(f"pipeline.data.{module}.digest_ids", lambda ids: zeros(len(ids)))
    encoded = {name: encode("PNG", Image.new("RGB", (8, 8 + n))) for n, name in enumerate("cab")}
    images = packed(tmp_path, **encoded)
    assert images.ids == ["a", "b", "c"]
    assert {name: images.read(name) for name in encoded} == encoded
    assert images.locate("d") is None


@pytest.mark.parametrize("files", ["swapped", "of another run", "missing"])
def test_a_bucket_that_is_not_of_the_manifest_is_told(files: str, tmp_path: Path) -> None:
    for name, size in (("images", 8), ("other", 9)):
        packer = Packer(tmp_path / name, buckets=2)
        for n in range(8):
            packer.add(f"{n}", encode("PNG", Image.new("RGB", (8, size))))
        packer.close()
    first, second = sorted((tmp_path / "images").glob("*.arrow"))
    if files == "swapped":
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    elif files == "missing":
        first.unlink()
    else:
        shutil.copy(tmp_path / "other" / first.name, first)
    with pytest.raises(UserError) as caught:
        PackedImages(tmp_path / "images")
    told = str(caught.value)
    assert told.startswith(f"{first}: damaged (")
    assert ("not the bucket of the manifest" in told) == (files != "missing")
    assert told.endswith(REMEDY)


def test_rows_are_copied_from_several_files_in_any_order_and_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = {str(n): encode("PNG", Image.new("RGB", (8, 8 + n))) for n in range(12)}
    stored = []
    for name in "ab":
        with RowWriter(tmp_path / name) as writer:
            for n in range(6):
                image_id = str(n + 6 * (name == "b"))
                stored.append(writer.add(ImageRow(image_id, encoded[image_id], 8, 8 + n, NO_FACTS)))
    order = [11, 0, 6, 5, 7, 1, 10]
    monkeypatch.setattr("pipeline.data.image_rows.BATCH_BYTES", 2 * len(encoded["0"]))
    RowFiles().copy([stored[row] for row in order], tmp_path / "to")
    batches = read_rows(tmp_path / "to")
    assert len(batches) > 2
    found = [row for batch in batches for row in batch.to_pylist()]
    assert [row["image_id"] for row in found] == [str(row) for row in order]
    assert [row["image"] for row in found] == [encoded[str(row)] for row in order]
    assert [row["height"] for row in found] == [8 + row % 6 for row in order]


def test_what_is_known_of_images_is_read_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.image_rows.BATCH_BYTES", 20)  # several batches a bucket
    rows = {}
    for n in range(30):
        facts = ImageFacts(f"{n % 7}", 2**64 - 1 - n, bytes([n, n + 1]), n - 5, n / 3)
        rows[f"{n}"] = ImageRow(f"{n}", b"image %d" % n, 8 + n, 9 + n, facts)
    with RowWriter(tmp_path / "rows") as writer:
        stored = {image_id: writer.add(row) for image_id, row in rows.items()}
    write_images(stored, tmp_path / "images", buckets=4)
    ids = [f"{7 * n % 30}" for n in range(30)]
    columns = PackedImages(tmp_path / "images").read_columns(ids)
    assert [each.tobytes() for each in columns.digest] == [
        sha256(rows[image_id].encoded).digest() for image_id in ids
    ]
    assert [(w, h) for w, h in zip(columns.width, columns.height, strict=True)] == [
        (rows[image_id].width, rows[image_id].height) for image_id in ids
    ]
    facts_of = zip(
        columns.pixels.to_pylist(),
        columns.perceptual_hash.tolist(),
        [each.tobytes() for each in columns.colors],
        columns.color_range.tolist(),
        columns.sharpness.tolist(),
        strict=True,
    )
    assert [ImageFacts(*values) for values in facts_of] == [
        rows[image_id].facts for image_id in ids
    ]


def test_of_no_images_nothing_is_known(tmp_path: Path) -> None:
    write_images({}, tmp_path / "images", buckets=1)
    columns = PackedImages(tmp_path / "images").read_columns([])
    assert {name: len(column) for name, column in vars(columns).items()} == dict.fromkeys(
        vars(columns), 0
    )
