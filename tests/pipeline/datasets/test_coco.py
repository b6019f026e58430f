"""COCO: an image's labels are the categories of its annotations; what is wrong is one line."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import CATALOG, CLASSES, read_table
from pipeline.datasets.coco import CocoOptions, archives, read_images
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.packing.packing import Outputs, pack
from pipeline.packing.sources import open_source
from tests.helpers.options import dataset_options
from tests.helpers.paths import SHARED

TINY = SHARED / "datasets/tiny_coco.tar"
OPTIONS = dataset_options("coco")
LABELS_ALONE = dataset_options("coco", images=False)
CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "animal", "id": 17, "name": "cat"},
]


def image(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 6} | fields


def annotation(image_id: int, category_id: int, **fields: Any) -> dict[str, Any]:
    outline = {"segmentation": [[1.5, 2, 3.25, 4]], "bbox": [0, 0, 1, 1], "iscrowd": 0}
    return outline | {"image_id": image_id, "category_id": category_id} | fields


def write(root: Path, name: str = "train", year: int = 2017, **changes: Any) -> Path:
    """Write annotations and a folder for their images; return where the annotations are."""
    content = {"images": [image(1)], "annotations": [annotation(1, 1, area=4.0)]}
    content |= {"categories": CATEGORIES, "info": {"year": year}} | changes
    path = root / f"annotations/instances_{name}{year}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    (root / f"{name}{year}").mkdir(exist_ok=True)
    return path


def read(root: Path, options: CocoOptions = OPTIONS) -> list[SourceImage]:
    return list(read_images(root, options, 0))


def error_line(root: Path, options: CocoOptions = OPTIONS) -> str:
    with pytest.raises(UserError) as caught:
        read(root, options)
    (line,) = str(caught.value).splitlines()
    return line


def outputs(folder: Path) -> Outputs:
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    return Outputs(*(folder / name for name in names))


@pytest.mark.parametrize("below", [".", "tiny_coco", "archive/data/tiny_coco"])
@pytest.mark.parametrize("year", [2014, 2017])
def test_an_image_has_the_labels_of_its_annotations(tmp_path: Path, below: str, year: int) -> None:
    root = tmp_path / below
    found = [
        annotation(9, 18, area=3.5),
        annotation(9, 1, area=2.0),
        annotation(9, 18, area=1.0),
        annotation(7, 1, area=9),
    ]
    write(root, year=year, images=[image(9), image(8), image(7)], annotations=found)
    write(root, "val", year)
    (root / f"train{year}/9.jpg").write_bytes(b"nine")
    nine, eight, seven, one = read(tmp_path, dataset_options("coco", year=year))
    assert (nine.path, nine.labels, nine.group) == (
        f"train{year}/9.jpg",
        ("dog", "person"),
        "animal",
    )
    assert nine.read is not None
    assert nine.read() == b"nine"
    assert (eight.labels, eight.group) == ((), None)
    assert (seven.labels, seven.group) == (("person",), "person")
    assert (one.path, one.size) == (f"val{year}/1.jpg", (8, 6))
    splits = [image.source_split for image in (nine, eight, seven, one)]
    assert splits == ["train", "train", "train", "query+gallery"]


def test_without_areas_there_is_no_group(tmp_path: Path) -> None:
    write(
        tmp_path,
        images=[image(1), image(2)],
        annotations=[annotation(1, 1), annotation(2, 18, area=None), annotation(2, 1, area=0.0)],
    )
    assert [image.group for image in read(tmp_path)] == [None, "person"]


def test_without_super_categories_there_is_no_group(tmp_path: Path) -> None:
    write(tmp_path, categories=[{"id": 1, "name": "person"}])
    assert [image.group for image in read(tmp_path)] == [None]


def test_train_alone_has_no_split_of_its_own(tmp_path: Path) -> None:
    write(tmp_path)
    assert [image.source_split for image in read(tmp_path)] == [None]


def test_labels_alone_need_no_images(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train2017").rmdir()
    (image,) = read(tmp_path, LABELS_ALONE)
    assert (image.labels, image.read, image.size) == (("person",), None, (8, 6))


@pytest.mark.parametrize(
    ("area", "group"),
    [("NaN", "animal"), ("Infinity", "animal"), ("-Infinity", "animal"), ("5", "person")],
)
def test_an_area_that_is_no_number_is_none(tmp_path: Path, area: str, group: str) -> None:
    found = [annotation(1, 1, area=float(area)), annotation(1, 18, area=0.5)]
    path = write(tmp_path, images=[image(1), image(2, file_name="NaN.jpg")], annotations=found)
    assert area in path.read_text()
    first, second = read(tmp_path)
    assert (first.labels, first.group, second.path) == (
        ("dog", "person"),
        group,
        "train2017/NaN.jpg",
    )


def test_annotations_may_begin_with_the_mark_of_utf8(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [image.labels for image in read(tmp_path)] == [("person",)]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (8, 6)),
        ({"width": 640.0, "height": 480.0}, (640, 480)),
        ({"width": None}, None),
        ({"height": float("nan")}, None),
        ({"width": None, "height": None}, None),
    ],
)
@pytest.mark.parametrize("without", [(), ("width",), ("width", "height")])
def test_a_size_may_be_missing_where_the_image_is_read(
    tmp_path: Path, fields: dict[str, Any], size: tuple[int, int] | None, without: tuple[str, ...]
) -> None:
    one = image(1, **fields)
    for key in without:
        del one[key]
    write(tmp_path, images=[one])
    Image.new("RGB", (8, 6)).save(tmp_path / "train2017/1.jpg")
    assert [found.size for found in read(tmp_path)] == [None if without else size]
    to = outputs(tmp_path / "out")
    pack(read(tmp_path), to, max_rejected=0.0)
    (row,) = read_table(to.catalog, CATALOG).to_pylist()
    assert (row["width"], row["height"]) == (8, 6)


def test_labels_alone_need_sizes(tmp_path: Path) -> None:
    path = write(tmp_path, images=[image(1), *(image(n, width=None) for n in range(2, 14))])
    assert error_line(tmp_path, LABELS_ALONE) == (
        f"{path}: found no width and height of '2.jpg', '3.jpg', '4.jpg', '5.jpg', '6.jpg', "
        "'7.jpg', '8.jpg', '9.jpg', '10.jpg', '11.jpg' and 2 more; allowed with data.coco.images "
        "false: both for each image; add them, or set data.coco.images: true"
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(CATEGORIES),
            st.none() | st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_labels_and_group_are_those_of_a_plain_search(
    tmp_path_factory: pytest.TempPathFactory, cases: list[tuple[int, dict[str, Any], int | None]]
) -> None:
    root = tmp_path_factory.mktemp("coco")
    found = [annotation(number, kind["id"], area=area) for number, kind, area in cases]
    write(root, images=[image(number) for number in range(6)], annotations=found)
    for number, packed in enumerate(read(root)):
        own = [(area, kind) for image_id, kind, area in cases if image_id == number]
        assert set(packed.labels) == {kind["name"] for _, kind in own}
        sized = [(area, kind["supercategory"]) for area, kind in own if area is not None]
        largest = max((area for area, _ in sized), default=None)
        assert packed.group == next((group for area, group in sized if area == largest), None)


def test_an_image_that_is_missing_is_rejected_and_one_without_annotations_left_out(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        images=[image(1), image(2), image(3)],
        annotations=[annotation(1, 1), annotation(2, 17)],
    )
    Image.new("RGB", (8, 6)).save(tmp_path / "train2017/1.jpg")
    to = outputs(tmp_path / "out")
    pack(read(tmp_path), to, max_rejected=0.5)
    assert to.rejected.read_text() == (
        "path,reason\ntrain2017/2.jpg,cannot be read (No such file or directory)\n"
    )
    assert read_table(to.catalog, CATALOG)["image_id"].to_pylist() == ["train2017/1.jpg"]
    with pytest.raises(UserError, match=r"^1 of 2 images \(50\.0%\) cannot be decoded \("):
        pack(read(tmp_path), to, max_rejected=0.0)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"annotations": [annotation(1, 1), annotation(1, 91)]},
            "an annotation has the category_id 91, which is not declared; allowed: the ids in "
            "'categories'; correct the file",
        ),
        (
            {"annotations": [annotation(2, 1)]},
            "an annotation has the image_id 2, which is not declared; allowed: the ids in "
            "'images'; correct the file",
        ),
        (
            {"images": [image(5), image(1), image(5, file_name="6.jpg")]},
            "'images' has the id 5 twice; allowed: each once; remove one",
        ),
        (
            {"categories": [*CATEGORIES, {"id": 18, "name": "wolf"}]},
            "'categories' has the id 18 twice; allowed: each once; remove one",
        ),
        *(
            (
                {"images": [image(1, file_name=name)]},
                f"found file_name {name!r}, which cannot be in the folder of images; allowed: a "
                "path relative to it; correct it",
            )
            for name in ("../1.jpg", "/etc/1.jpg", "a/../../1.jpg", "1\0.jpg", "")
        ),
        *(
            (
                changes,
                f"not annotations as COCO writes them ({reason}); allowed: its own "
                "instances_*.json, or a file of that form; get a whole copy, or correct it",
            )
            for changes, reason in (
                ({"images": [image("1")]}, "Expected `int`, got `str` - at `$.images[0].id`"),
                (
                    {"annotations": [{"image_id": 1}]},
                    "Object missing required field `category_id` - at `$.annotations[0]`",
                ),
                ({"categories": {}}, "Expected `array`, got `object` - at `$.categories`"),
                (
                    {"images": [image(1, width=0)]},
                    "Expected `int` >= 1 - at `$.images[0].width`",
                ),
                (
                    {"images": [image(1, height=2**31)]},
                    "Expected `int` <= 2147483647 - at `$.images[0].height`",
                ),
            )
        ),
    ],
)
def test_wrong_annotations_are_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = write(tmp_path, **changes)
    assert error_line(tmp_path) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b'{"images": [{"id": 1, ', "Input data was truncated"),
        (b"{'images': []}", "JSON is malformed"),
        (b"{'images': [NaN]}", "JSON is malformed"),
        (b'{"images": [NaN], "annotations": [], "categories": []}', "got `null`"),
        (b'{"images": [], "annotations": [], "categories": []}]', "trailing characters"),
        (b'{"images": [{"id": 1, "file_name": "\xff"}]}', "invalid start byte"),
        (b'{"info": ' + b"[" * 100_000, "maximum recursion depth exceeded"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"info": {}}', "missing required field `images`"),
    ],
)
def test_malformed_json_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path)
    path.write_bytes(content)
    line = error_line(tmp_path)
    assert line.startswith(f"{path}: not annotations as COCO writes them (")
    assert reason in line


def test_a_source_without_annotations_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "val")
    write(tmp_path, "train", 2014)
    assert error_line(tmp_path) == (
        f"{tmp_path}: found no annotations/instances_train2017.json; allowed for data.name coco: a "
        "folder or an archive with annotations/, train2017/ and val2017/; set data.source to it, "
        "or data.coco.year, or data.coco.official: true to fetch it"
    )


def test_annotations_without_their_folder_of_images_are_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train2017").rmdir()
    assert error_line(tmp_path) == (
        f"{tmp_path}/train2017: no such folder, but there is instances_train2017.json; allowed: "
        "both, or data.coco.images: false; put the images there"
    )


def test_official_archives_are_those_of_the_year() -> None:
    assert archives(OPTIONS) == {}
    for year in (2014, 2017):
        assert [
            url.removeprefix("http://images.cocodataset.org/")
            for url in archives(dataset_options("coco", official=True, year=year))
        ] == [
            f"annotations/annotations_trainval{year}.zip",
            f"zips/train{year}.zip",
            f"zips/val{year}.zip",
        ]
    assert archives(dataset_options("coco", official=True, images=False)) == {
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip": (
            "md5:f4bbac642086de4f52a3fdda2de5fa2c"
        )
    }


@pytest.mark.skipif(not TINY.is_file(), reason="shared/datasets/tiny_coco.tar is not there")
def test_a_hundred_real_images_are_packed_and_as_many_are_labels_alone(tmp_path: Path) -> None:
    catalogs = []
    for options in (OPTIONS, LABELS_ALONE):
        to = outputs(tmp_path / str(options.images))
        with open_source(TINY, {}, downloads=tmp_path / "downloads") as folder:
            found = read_images(folder, options, 0)
            pack(found, to, max_rejected=0.0)
        catalogs.append(read_table(to.catalog, CATALOG))
        assert len(PackedImages(to.images)) == (97 if options.images else 0)
    assert catalogs[0].equals(catalogs[1])
    assert Counter(catalogs[0]["source_split"].to_pylist()) == {"train": 49, "query+gallery": 48}
    assert "person" in read_table(to.classes, CLASSES)["name"].to_pylist()
    # The first image of the file: its annotations were read by eye.
    row = next(r for r in catalogs[0].to_pylist() if r["path"] == "train2017/000000391895.jpg")
    names = read_table(to.classes, CLASSES)["name"].to_pylist()
    assert {names[label] for label in row["labels"]} == {"person", "motorcycle", "bicycle"}
