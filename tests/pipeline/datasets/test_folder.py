"""A person's own images are read in each of the layouts that images/README.md names."""

import csv
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.folder import count_unread, read_images
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from tests.helpers.options import dataset_options

COLUMNS = ["label", "path", "split", "is_query", "is_gallery"]
BOX_COLUMNS = [*COLUMNS, "x_1", "x_2", "y_1", "y_2"]


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def read(root: Path, table: str | None = None) -> list[SourceImage]:
    return list(read_images(root, dataset_options("folder", table=table), 0))


def error_line(root: Path, table: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read(root, table)
    return str(caught.value)


def roles(found: list[SourceImage]) -> dict[str, tuple[str, str | None]]:
    return {image.path: (image.labels[0], image.source_split) for image in found}


def test_class_folders_are_labels_without_roles(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/old/2.PNG", "dog/3.JPEG", "dog/4.webp", "dog/5.bmp")
    put(tmp_path, "dog/6.HEIC")
    assert roles(read(tmp_path)) == {
        "cat/1.jpg": ("cat", None),
        "cat/old/2.PNG": ("cat", None),
        "dog/3.JPEG": ("dog", None),
        "dog/4.webp": ("dog", None),
        "dog/5.bmp": ("dog", None),
        "dog/6.HEIC": ("dog", None),
    }


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "README.md", ".DS_Store", "cat/1.jpg", "cat/.2.jpg", "cat/.thumbs/3.jpg")
    put(tmp_path, "cat/notes.txt", ".git/4.jpg", "cat/movie.mp4", ".5.jpg")
    assert list(roles(read(tmp_path))) == ["cat/1.jpg"]


def test_an_image_pickles_and_reads_its_bytes(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    (image,) = pickle.loads(pickle.dumps(read(tmp_path)))  # noqa: S301
    assert image.read() == b"cat/1.jpg"


def test_train_and_test_folders_are_roles(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "test/dog/3.jpg", "val/cat/4.jpg")
    assert roles(read(tmp_path)) == {
        "train/cat/1.jpg": ("cat", "train"),
        "val/cat/4.jpg": ("cat", "val"),
        "test/cat/2.jpg": ("cat", "query+gallery"),
        "test/dog/3.jpg": ("dog", "query+gallery"),
    }


def test_a_lone_folder_around_everything_is_stepped_into(tmp_path: Path) -> None:
    put(tmp_path, "photos/cat/1.jpg", "photos/dog/2.jpg", "__MACOSX.txt")
    assert list(roles(read(tmp_path))) == ["cat/1.jpg", "dog/2.jpg"]


def test_a_lone_class_stays_a_class(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.jpg")
    assert roles(read(tmp_path))["cat/1.jpg"] == ("cat", None)


def test_no_images_names_the_layouts(tmp_path: Path) -> None:
    put(tmp_path, "README.md", "cat/notes.txt")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg and "
        "test/<class>/*.jpg, or a table (data.folder.table), of .jpg, .jpeg, .png, .webp, .bmp, "
        ".heic, .heif; put some there (see images/README.md)"
    )


def test_an_image_in_no_class_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "stray.jpg")
    assert error_line(tmp_path) == (
        f"{tmp_path}/stray.jpg: an image outside of any class folder; allowed: "
        f"{tmp_path}/<class>/stray.jpg; move it into the folder of its class"
    )


def test_test_without_train_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "test/cat/1.jpg", "val/cat/1.jpg")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found test, val but no train; allowed: train and test (and optionally val), "
        "each with one folder for each class, or class folders alone; add train"
    )


def test_train_and_val_without_test_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "val/cat/1.jpg")
    assert "found train, val but no test; allowed:" in error_line(tmp_path)


def test_a_folder_beside_train_and_test_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "test/cat/1.jpg", "more/cat/2.jpg")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found 'more' beside train and test; allowed beside them: val; move it out, "
        "or into train and test"
    )


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "1.jpg").rename(tmp_path / "cat" / "\udcff.jpg")
    assert error_line(tmp_path) == "cat/\\udcff.jpg: the name is not UTF-8; rename the file"


def write_csv(root: Path, columns: list[str], *rows: str) -> None:
    with open(root / "t.csv", "w", newline="") as out:
        csv.writer(out).writerows([columns, *(row.split(" ") for row in rows)])


def test_a_table_gives_labels_roles_groups_and_boxes(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    write_csv(
        tmp_path,
        [*COLUMNS, "category", "x_1", "x_2", "y_1", "y_2"],
        "1 a.jpg train   toys    ",
        "1 a.jpg train   toys 0 5 1 9.0",
        "2 b.jpg validation true true     ",
        "2 c.jpg test True FALSE     ",
        "2 d.jpg test 0 1     ",
    )
    found = read(tmp_path, "t.csv")
    assert [(p.path, p.labels, p.group, p.source_split, p.box, p.image_id) for p in found] == [
        ("a.jpg", ("1",), "toys", "train", None, None),
        ("a.jpg", ("1",), "toys", "train", (0, 1, 5, 9), "a.jpg#0,1,5,9"),
        ("b.jpg", ("2",), None, "val", None, None),
        ("c.jpg", ("2",), None, "query", None, None),
        ("d.jpg", ("2",), None, "gallery", None, None),
    ]
    assert found[0].read() == b"a.jpg"


def test_without_test_rows_validation_is_measured(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  ", "1 a.jpg validation 1 1")
    assert [p.source_split for p in read(tmp_path, "t.csv")] == ["train", "query+gallery"]


def test_a_training_image_may_be_in_the_gallery(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  1")
    assert [p.source_split for p in read(tmp_path, "t.csv")] == ["train+gallery"]


def test_a_parquet_table_reads_like_a_csv(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    rows = {
        "label": [1.0, 2.0],
        "path": ["a.jpg", str(tmp_path / "b.jpg")],
        "split": ["train", "test"],
        "is_query": [None, True],
        "is_gallery": [None, True],
    }
    pq.write_table(
        pa.table(
            rows
            | {
                "x_1": [None, 2.0],
                "y_1": [float("nan"), 3.0],
                "x_2": [None, 8.0],
                "y_2": [None, 9.0],
            }
        ),
        tmp_path / "t.parquet",
    )
    found = read(tmp_path, "t.parquet")
    assert [(p.path, p.labels, p.source_split, p.box) for p in found] == [
        ("a.jpg", ("1",), "train", None),
        ("b.jpg", ("2",), "query+gallery", (2, 3, 8, 9)),
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (" a.jpg train  ", ", column label: found nothing; allowed: the name of a class"),
        (
            "1 z.jpg train  ",
            ", column path: found 'z.jpg', but there is no such file in {root}; allowed: a path "
            "relative to data.source; correct it",
        ),
        (
            "1  train  ",
            ", column path: found '', but there is no such file in {root}; allowed: a path "
            "relative to data.source; correct it",
        ),
        (
            "1 ../a.jpg train  ",
            ", column path: found '../a.jpg', which leads out of {root}; allowed: a path relative "
            "to data.source; move the image there",
        ),
        (
            "1 /etc/hosts train  ",
            ", column path: found '/etc/hosts', which leads out of {root}; allowed: a path "
            "relative to data.source; move the image there",
        ),
        (
            "1 a.jpg tran  ",
            ", column split: found 'tran'; allowed: test, train, validation; did you mean 'train'?",
        ),
        (
            "1 a.jpg test maybe 1",
            ", column is_query: found 'maybe'; allowed: true, false, 1, 0, or nothing for false",
        ),
        (
            "1 a.jpg test 1 2",
            ", column is_gallery: found '2'; allowed: true, false, 1, 0, or nothing for false",
        ),
        (
            "1 a.jpg train 1 0",
            ", column is_query: found true in split train; allowed: false, because a query "
            "must not be a training image; set it to false",
        ),
        (
            "1 a.jpg test 0 0",
            ", columns is_query and is_gallery: found false in both in split test; allowed: true "
            "in one or both; correct one",
        ),
        (
            "1 a.jpg train   1 5 2 ",
            ", columns x_1, x_2, y_1, y_2: found '1', '5', '2', ''; allowed: four whole numbers of "
            "pixels, or nothing in all four",
        ),
        (
            "1 a.jpg train   1 5 2 nan",
            ", columns x_1, x_2, y_1, y_2: found '1', '5', '2', 'nan'; allowed: four whole numbers "
            "of pixels, or nothing in all four",
        ),
        (
            "1 a.jpg train   5 1 2 3",
            ", columns x_1, x_2, y_1, y_2: found 5, 1, 2, 3; allowed: 0 <= x_1 < x_2 and "
            "0 <= y_1 < y_2",
        ),
    ],
)
def test_a_wrong_value_is_an_error_with_its_line_and_column(
    tmp_path: Path, row: str, text: str
) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, BOX_COLUMNS, "1 a.jpg train  ", row)
    assert error_line(tmp_path, "t.csv") == f"{tmp_path}/t.csv: line 3{text.format(root=tmp_path)}"


def test_missing_columns_are_an_error(tmp_path: Path) -> None:
    write_csv(tmp_path, ["label", "path", "split", "x_1"])
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: found no column is_query, is_gallery, x_2, y_1, y_2; allowed: label, "
        "path, split, is_query, is_gallery, and optionally category, x_1, x_2, y_1, y_2; add what "
        "is missing"
    )


def test_a_label_of_two_categories_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, [*COLUMNS, "category"], "1 a.jpg train   toys", "1 a.jpg train   cups")
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: line 3, column category: found 'cups', but label '1' had 'toys' "
        "before; allowed: one category a label; correct one"
    )


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: no such file; allowed: the path of a .csv or .parquet table inside "
        "data.source; set data.folder.table"
    )


@pytest.mark.parametrize("name", ["../t.csv", "/etc/t.csv", "a/../../t.csv"])
def test_a_table_outside_of_the_source_is_an_error(tmp_path: Path, name: str) -> None:
    source = tmp_path / "in"
    put(source, "a.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  ")
    assert error_line(source, name) == (
        f"{source / name}: leads out of {source}; allowed: the path of a .csv or .parquet table "
        "inside data.source, relative to it; move it there and set data.folder.table"
    )


def test_images_of_a_suffix_that_is_not_read_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/2.GIF", "a/b/3.gif", "b/4.tif", "b/.5.tif", ".c/6.gif", "b/7.txt")
    assert count_unread(tmp_path, dataset_options("folder")) == {".gif": 2, ".tif": 1}
    assert count_unread(tmp_path, dataset_options("folder", table="t.csv")) == {}


def test_a_table_of_another_kind_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "t.xlsx")
    assert error_line(tmp_path, "t.xlsx") == (
        f"{tmp_path}/t.xlsx: found a .xlsx file; allowed: .csv, .parquet; set data.folder.table"
    )


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "t.parquet")
    (tmp_path / "t.csv").write_bytes(b"label,\xff")
    assert error_line(tmp_path, "t.parquet").startswith(
        f"{tmp_path}/t.parquet: not a Parquet file ("
    )
    assert error_line(tmp_path, "t.csv").startswith(f"{tmp_path}/t.csv: not a CSV file in UTF-8 (")


def test_an_empty_table_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    assert "found no column label, path, split, is_query, is_gallery;" in error_line(
        tmp_path, "t.csv"
    )
