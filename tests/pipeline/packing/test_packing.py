"""Packing: every image once, by image_id; all outputs or none."""

import io
import re
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.buckets import MANIFEST
from pipeline.data.files import PREFIX
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import CATALOG, CLASSES, read_table
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.packing.packing import UNLABELLED, Outputs, pack
from pipeline.packing.storing import CHUNK
from pipeline.workers import HERE, Workers


@dataclass(frozen=True)
class Colored:
    """Makes an image of one color in the worker process, as a rendered dataset does."""

    shade: int

    def __call__(self) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (8, 6), (self.shade, 0, 0)).save(out, "PNG")
        return out.getvalue()


def broken() -> bytes:
    return b"broken"


def cut(number: int) -> bytes:
    return Colored(number)()[: 20 + number]


def failing() -> bytes:
    raise ZeroDivisionError("a mistake in the dataset")


def colored(path: str, *labels: str, shade: int = 0, **fields: object) -> SourceImage:
    return SourceImage(path=path, labels=labels, read=Colored(shade), **fields)  # type: ignore[arg-type]


def outputs(folder: Path) -> Outputs:
    return Outputs(
        images=folder / "images",
        catalog=folder / "catalog.parquet",
        classes=folder / "classes.parquet",
        rejected=folder / "rejected.csv",
        health=folder / "health.parquet",
    )


def packed(
    images: Iterable[SourceImage],
    folder: Path,
    *,
    max_rejected: float = 0.0,
    workers: Workers = HERE,
) -> Outputs:
    to = outputs(folder)
    pack(images, to, max_rejected=max_rejected, workers=workers)
    return to


def error_line(images: Iterable[SourceImage], folder: Path, *, max_rejected: float = 0.0) -> str:
    with pytest.raises(UserError) as caught:
        packed(images, folder, max_rejected=max_rejected)
    return str(caught.value)


def test_images_are_packed_in_the_order_of_their_ids(tmp_path: Path) -> None:
    count = 3 * CHUNK + 1
    images = [colored(f"{shade:03}.png", "a", shade=shade) for shade in range(count)]
    to = packed(reversed(images), tmp_path)
    stored = PackedImages(to.images)
    ids = read_table(to.catalog, CATALOG)["image_id"].to_pylist()
    assert ids == sorted(stored.ids) == sorted(image.path for image in images)
    assert [stored.decode(image_id).getpixel((0, 0)) for image_id in ids] == [
        (shade, 0, 0) for shade in range(count)
    ]
    assert stored.read("000.png") == Colored(0)()


def test_tables_say_what_the_dataset_says(tmp_path: Path) -> None:
    to = packed(
        [
            colored("1.png", "zebra", "ant", group="wild", source_split="train"),
            colored("2.png", "ant", group="tame"),
            colored("2.png", "bee", group="tame", image_id="0"),
        ],
        tmp_path,
    )
    row = {"width": 8, "height": 6}
    tame = {"group": "tame", "source_split": None, "path": "2.png", **row}
    assert read_table(to.catalog, CATALOG).to_pylist() == [
        {"image_id": "0", "labels": [1], **tame},
        {
            "image_id": "1.png",
            "labels": [0, 2],
            "group": "wild",
            "source_split": "train",
            "path": "1.png",
            **row,
        },
        {"image_id": "2.png", "labels": [0], **tame},
    ]
    assert read_table(to.classes, CLASSES).to_pylist() == [
        # Image 1 is of two classes, so its group is not told to be that of either.
        {"label": 0, "name": "ant", "group": "tame"},
        {"label": 1, "name": "bee", "group": "tame"},
        {"label": 2, "name": "zebra", "group": None},
    ]
    assert to.rejected.read_bytes() == b"path,reason\n"


def test_what_does_not_decode_is_listed_and_its_class_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = SourceImage(path="b,1.png", labels=("b",), read=broken)
    to = packed([colored("a.png", "a"), bad], tmp_path, max_rejected=0.5)
    assert read_table(to.catalog, CATALOG)["image_id"].to_pylist() == ["a.png"]
    assert read_table(to.classes, CLASSES)["name"].to_pylist() == ["a"]
    assert to.rejected.read_text() == ('path,reason\n"b,1.png",not an image\n')
    assert caplog.messages == [
        f"left out 1 image (1 not an image), listed in {to.rejected}",
        "no image can be decoded of the classes b",
    ]


def test_what_is_left_out_is_counted_by_reason_and_lost_classes_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [colored("a.png", "a"), SourceImage(path="b.png", labels=("a",), read=broken)]
    for number in range(12):
        read = partial(cut, number)
        images.append(SourceImage(path=f"{number}.png", labels=(f"c{number:02}",), read=read))
    to = packed(images, tmp_path, max_rejected=0.95)
    assert caplog.messages == [
        f"left out 13 images (12 damaged, 1 not an image), listed in {to.rejected}",
        "no image can be decoded of the classes c00, c01, c02, c03, c04, c05, c06, c07, c08, c09 "
        "and 2 more",
    ]


def test_too_many_rejected_stop_with_nothing_written(tmp_path: Path) -> None:
    images = [SourceImage(path=f"{n}.png", labels=("a",), read=broken) for n in range(4)]
    images += [colored("9.png", "a"), colored("8.png", "a")]
    reason = "not an image"
    assert error_line(images, tmp_path, max_rejected=0.5) == (
        "4 of 6 images (66.7%) cannot be decoded (4 not an image); allowed: 3 "
        f"(download.max_rejected: 50.0%); repair or remove them: 0.png: {reason}; "
        f"1.png: {reason}; 2.png: {reason}; 3.png: {reason}"
    )
    assert list(tmp_path.iterdir()) == []


def test_all_rejected_stop_whatever_is_allowed(tmp_path: Path) -> None:
    bad = SourceImage(path="0.png", labels=("a",), read=broken)
    assert error_line([bad], tmp_path, max_rejected=1.0).startswith("1 of 1 images (100.0%) cannot")


def test_no_images_are_an_error(tmp_path: Path) -> None:
    assert error_line([], tmp_path) == (
        "data.source: found no images; allowed: the layouts in images/README.md; set "
        "data.source and data.name"
    )


def test_a_repeated_id_is_an_error(tmp_path: Path) -> None:
    assert error_line([colored("1.png", "a"), colored("1.png", "b")], tmp_path) == (
        "data.source: two images have the image_id '1.png'; allowed: each once; remove one"
    )


def test_images_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    unread = SourceImage(path="0.png", labels=(), read=failing)
    to = outputs(tmp_path)
    images = [colored("2.png", "a"), unread, colored("1.png")]
    pack(images, to, max_rejected=0.0)
    assert read_table(to.catalog, CATALOG)["image_id"].to_pylist() == ["2.png"]
    assert to.rejected.read_bytes() == b"path,reason\n"


def test_the_rejected_are_a_share_of_the_images_with_labels(tmp_path: Path) -> None:
    bad = SourceImage(path="0.png", labels=("a",), read=broken)
    images = [bad, *(colored(f"{n}.png", *"a"[: n < 2]) for n in range(1, 5))]
    text = error_line(images, tmp_path)
    assert text.startswith("1 of 2 images (50.0%) cannot be decoded (1 not an image);")


def test_images_without_any_label_are_one_class(tmp_path: Path) -> None:
    to = packed([colored("2.png"), colored("1.png")], tmp_path)
    assert read_table(to.catalog, CATALOG)["labels"].to_pylist() == [[0], [0]]
    assert read_table(to.classes, CLASSES)["name"].to_pylist() == [UNLABELLED]
    assert sorted(PackedImages(to.images).ids) == ["1.png", "2.png"]


def test_labels_alone_are_packed_without_images_or_processes(tmp_path: Path) -> None:
    workers = Workers(Executor(), tmp_path)  # whose `submit` is not implemented
    images = [
        SourceImage(path=f"{n}.jpg", labels=("a",), read=None, size=(640, 400 + n))
        for n in range(9)
    ]
    to = packed(images, tmp_path, workers=workers)
    catalog = read_table(to.catalog, CATALOG)
    assert catalog["image_id"].to_pylist() == [f"{n}.jpg" for n in range(9)]
    assert catalog["height"].to_pylist() == list(range(400, 409))
    assert catalog["width"].to_pylist() == [640] * 9
    assert [path.name for path in to.images.iterdir()] == [MANIFEST]
    stored = PackedImages(to.images)
    assert len(stored) == 0
    stored.require([])
    with pytest.raises(UserError) as caught:
        stored.require(["0.jpg"])
    assert str(caught.value) == (
        f"{to.images}: no images were packed, only their labels; allowed here: packed images; "
        "set data.<name>.images: true"
    )


def test_labels_alone_stand_between_images(tmp_path: Path) -> None:
    unread = [
        SourceImage(path=f"{n}.png", labels=("a",), read=None, size=(5, n)) for n in (1, 3, 5)
    ]
    to = packed([*unread, colored("2.png", "a"), colored("4.png", "a")], tmp_path)
    assert read_table(to.catalog, CATALOG)["height"].to_pylist() == [1, 6, 3, 6, 5]
    assert sorted(PackedImages(to.images).ids) == ["2.png", "4.png"]


def test_a_mistake_in_a_dataset_is_not_a_rejected_image(tmp_path: Path) -> None:
    bad = SourceImage(path="0.png", labels=("a",), read=failing)
    with pytest.raises(ZeroDivisionError, match="a mistake in the dataset"):
        packed([bad], tmp_path, max_rejected=1.0)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_is_replaced_or_left_alone(tmp_path: Path) -> None:
    to = packed([colored("1.png", "a"), colored("2.png", "a")], tmp_path)
    (to.images / "00001.arrow").write_bytes(b"of an earlier run")
    (tmp_path / f"{PREFIX}killed" / "images").mkdir(parents=True)
    error_line([], tmp_path)
    assert len(pq.read_table(to.catalog)) == 2
    packed([colored("3.png", "a")], tmp_path)
    assert PackedImages(to.images).ids == ["3.png"]
    assert len(list(tmp_path.iterdir())) == 5


def read_fingerprint(
    images: Iterable[SourceImage], folder: Path, *, max_rejected: float = 0.0
) -> str:
    to = packed(images, folder, max_rejected=max_rejected)
    return read_dataset_fingerprint(to.catalog)


@pytest.mark.slow
def test_a_dataset_has_one_fingerprint_in_any_order(tmp_path: Path) -> None:
    images = [colored(f"{n}.png", "a", shade=n) for n in range(2 * CHUNK)]
    first = read_fingerprint(images, tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert read_fingerprint(reversed(images), tmp_path) == first


@pytest.mark.slow
def test_the_fingerprint_changes_with_the_bytes_of_one_image_or_with_one_label(
    tmp_path: Path,
) -> None:
    one, two = colored("1.png", "a"), colored("2.png", "b")
    found = [
        read_fingerprint(images, tmp_path)
        for images in (
            [one, two],
            [one, colored("2.png", "b", shade=1)],
            [one, colored("2.png", "a")],
            [one, colored("2.png", "c")],
            [one, colored("3.png", "b")],
            [one],
        )
    ]
    assert len(set(found)) == len(found)


def test_what_is_left_out_does_not_count_for_the_fingerprint(tmp_path: Path) -> None:
    images = [colored("1.png", "a"), colored("2.png", "a")]
    more = [colored("0.png"), SourceImage(path="3.png", labels=("a",), read=broken)]
    found = read_fingerprint([*images, *more], tmp_path, max_rejected=0.5)
    assert found == read_fingerprint(images, tmp_path)


def test_labels_alone_have_a_fingerprint(tmp_path: Path) -> None:
    found = [
        read_fingerprint([SourceImage("1.png", (label,), None, size=(8, 6))], tmp_path)
        for label in ("a", "b")
    ]
    assert len({*found, read_fingerprint([colored("1.png", "a")], tmp_path)}) == 3


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    images = [colored(f"{n}.png", "a", shade=n) for n in range(2 * CHUNK)]
    written = []
    for name in ("one", "two"):
        packed(images, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append([path.read_bytes() for path in files])
        images.reverse()
    assert written[0] == written[1]
    assert len(written[0]) == 6  # the folder of images has a manifest and a bucket
