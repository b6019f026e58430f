"""The catalog of a project, against the tables that it is read from."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from app.searching.catalog import Catalog, UnknownNameError
from pipeline.data.tables import CATALOG, LABELS, SPLITS, read_table, write_table
from pipeline.errors import UserError, name_first
from tests.helpers.dataset_tables import build_classes, write_dataset_tables
from tests.helpers.searchable import COLORS, IMAGES, SHAPES

RED = "red disc/1.jpg"


@pytest.fixture(scope="module")
def catalog(searchable: Path) -> Catalog:
    return Catalog(searchable)


def test_images_have_the_classes_and_groups_of_the_tables(catalog: Catalog) -> None:
    assert catalog.classes == sorted(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    assert catalog.groups == ["disc", "square"]
    assert (catalog.classes_of(RED), catalog.group_of(RED)) == (["red disc"], "disc")
    assert catalog.images.decode(RED).size == (48, 40)


def test_queries_are_the_queries_of_the_test_split(catalog: Catalog, searchable: Path) -> None:
    rows = read_table(searchable / "data/splits.parquet", SPLITS).to_pylist()
    expected = [row["image_id"] for row in rows if row["is_query"] and row["split"] == "test"]
    assert catalog.queries == expected
    assert len(expected) == len(COLORS) * IMAGES  # half of the classes


def test_images_that_share_a_label_are_relevant(catalog: Catalog) -> None:
    assert catalog.is_relevant(RED, "red disc/3.jpg")
    assert not catalog.is_relevant(RED, "red square/1.jpg")
    assert catalog.labels_of(RED) == catalog.labels_of("red disc/3.jpg") != frozenset()


def test_masks_are_in_the_order_of_the_given_ids(catalog: Catalog) -> None:
    ids = ["red square/1.jpg", RED, "blue disc/0.jpg", "red disc/0.jpg"]
    assert catalog.mask_class("red disc", ids).tolist() == [False, True, False, True]
    assert catalog.mask_group("disc", ids).tolist() == [False, True, True, True]
    for name in catalog.classes:
        expected = [name in catalog.classes_of(image_id) for image_id in catalog.images.ids]
        assert catalog.mask_class(name, catalog.images.ids).tolist() == expected


def test_a_wrong_name_or_image_is_one_line(catalog: Catalog, searchable: Path) -> None:
    path = searchable / "data/catalog.parquet"
    for call, message in {
        lambda: catalog.mask_class("red disk", [RED]): (
            f"class: found 'red disk'; allowed: {name_first(catalog.classes)}; did you mean "
            "'red disc'?"
        ),
        lambda: catalog.mask_group("ring", [RED]): "group: found 'ring'; allowed: 'disc', 'square'",
        lambda: catalog.classes_of("x"): f"{path}: no image has image_id 'x'; run: dvc repro",
        lambda: catalog.mask_class("red disc", [RED, "x", "y"]): (
            f"{searchable / 'index'}: 2 of 3 image_ids are not in {path}, the first is 'x'; "
            "both must come from one run: dvc repro"
        ),
    }.items():
        with pytest.raises(UserError) as error:
            call()
        assert str(error.value) == message


@pytest.mark.parametrize("name", ["catalog.parquet", "classes.parquet", "splits.parquet", "images"])
def test_a_missing_file_is_an_error_that_says_how_to_get_it(
    searchable: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(searchable / "data", tmp_path / "data", ignore=shutil.ignore_patterns(name))
    path = tmp_path / "data" / name
    with pytest.raises(UserError) as error:
        Catalog(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/dvc.yaml: no such file; run from the root of the project"
    )
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(UserError) as error:
        Catalog(tmp_path)
    assert str(error.value) == (
        f"{path}: no such file or folder; bring back what the last run made: dvc checkout, "
        "make it: dvc repro, or if the project has a remote, "
        "fetch it: dvc pull"
    )


def test_classes_that_share_a_name_have_their_label_added(searchable: Path, tmp_path: Path) -> None:
    shutil.copytree(searchable / "data", tmp_path / "data")
    catalog = read_table(tmp_path / "data/catalog.parquet", CATALOG)
    labels = [[1, 0], [1], [2], *([[0]] * (len(catalog) - 3))]
    column = catalog.schema.get_field_index("labels")
    several = catalog.set_column(column, "labels", pa.array(labels, LABELS))
    write_table(several, tmp_path / "data/catalog.parquet", CATALOG)
    write_dataset_tables(tmp_path / "data", classes=build_classes(["cup", "cup", "bowl"]))
    catalog, ids = Catalog(tmp_path), catalog["image_id"].to_pylist()[:4]
    assert catalog.classes == ["bowl", "cup (0)", "cup (1)"]
    assert [catalog.classes_of(image_id) for image_id in ids] == [
        ["cup (0)", "cup (1)"],
        ["cup (1)"],
        ["bowl"],
        ["cup (0)"],
    ]
    assert catalog.own_name_of("cup (1)") == "cup"
    assert catalog.mask_class("cup (1)", ids).tolist() == [True, True, False, False]
    assert [catalog.is_relevant(ids[0], other) for other in ids[1:]] == [True, False, True]


def test_where_all_images_have_one_class_none_is_called_relevant(
    searchable: Path, tmp_path: Path
) -> None:
    shutil.copytree(searchable / "data", tmp_path / "data")
    catalog = read_table(tmp_path / "data/catalog.parquet", CATALOG)
    column = catalog.schema.get_field_index("labels")
    alike = catalog.set_column(column, "labels", pa.array([[0]] * len(catalog), LABELS))
    write_table(alike, tmp_path / "data/catalog.parquet", CATALOG)
    write_dataset_tables(tmp_path / "data", classes=build_classes(["unlabelled"]))
    one, other = alike["image_id"].to_pylist()[:2]
    assert Catalog(tmp_path).is_relevant(one, other) is None


def test_of_many_classes_the_first_are_named(searchable: Path, tmp_path: Path) -> None:
    shutil.copytree(searchable / "data", tmp_path / "data")
    table = read_table(tmp_path / "data/catalog.parquet", CATALOG)
    column = table.schema.get_field_index("group")
    table = table.set_column(column, "group", pa.nulls(len(table), pa.string()))
    names = [f"class {number:03}" for number in range(200)]
    write_dataset_tables(tmp_path / "data", catalog=table, classes=build_classes(names))
    catalog = Catalog(tmp_path)
    first = ", ".join(f"'class {number:03}'" for number in range(10))
    for call, message in {
        lambda: catalog.find_label("klass 123"): (
            f"class: found 'klass 123'; allowed: {first} and 190 more; did you mean 'class 123'?"
        ),
        lambda: catalog.find_group("disc"): "group: found 'disc'; the dataset has no group",
    }.items():
        with pytest.raises(UnknownNameError) as error:
            call()
        assert str(error.value) == message
