"""A table of images is read alike from CSV and Parquet, as spreadsheets and pandas write it."""

import csv
from itertools import product
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.folder import read_images
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


def read(root: Path, table: str) -> list[SourceImage]:
    return list(read_images(root, dataset_options("folder", table=table), 0))


def error_text(root: Path, table: str) -> str:
    with pytest.raises(UserError) as caught:
        read(root, table)
    return str(caught.value)


def error_line(root: Path, table: str) -> str:
    (line,) = error_text(root, table).splitlines()
    return line


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
    put(tmp_path, "a.jpg", "b.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  ", "1 b.jpg validation 1 1")
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
            ", columns x_1, x_2, y_1, y_2: found '1', '5', '2', ''; allowed: four whole numbers of "
            "pixels, or nothing in all four",
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
    put(tmp_path, "a.jpg", "b.jpg")
    write_csv(tmp_path, BOX_COLUMNS, "1 b.jpg train  ", row)
    assert error_line(tmp_path, "t.csv") == f"{tmp_path}/t.csv: line 3{text.format(root=tmp_path)}"


ALLOWED_COLUMNS = (
    "allowed: label, path, and optionally split (with both of is_query, is_gallery or neither), "
    "category, x_1, x_2, y_1, y_2; add what is missing"
)


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ([], "label, path"),
        (["paths", "labels"], "label, path"),
        (["Label", "is_query", "x_1"], "path, split, is_gallery, x_2, y_1, y_2"),
        (["label", "path", "split", "is_gallery"], "is_query"),
    ],
)
def test_missing_columns_are_an_error(tmp_path: Path, columns: list[str], missing: str) -> None:
    write_csv(tmp_path, columns)
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: found no column {missing}; {ALLOWED_COLUMNS}"
    )


def test_what_is_missing_and_what_is_there_twice_are_told_at_once(tmp_path: Path) -> None:
    write_csv(tmp_path, ["Label", "LABEL"])
    assert error_text(tmp_path, "t.csv").splitlines() == [
        f"{tmp_path}/t.csv: found no column path; {ALLOWED_COLUMNS}",
        f"{tmp_path}/t.csv: found more than one column label, in whatever case; allowed: each "
        "once; remove or rename the others",
        f"{tmp_path}/t.csv: 2 faults in all",
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("names", [("path", "label"), ("Path", "LABEL"), (" path ", "\tLabel")])
def test_path_and_label_are_enough(tmp_path: Path, names: tuple[str, str], suffix: str) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    table = pd.DataFrame({names[0]: ["a.jpg", "b.jpg"], names[1]: ["cat", "dog"]})
    if suffix == "csv":
        table.to_csv(tmp_path / "t.csv", index=False)
    else:
        table.to_parquet(tmp_path / "t.parquet")
    found = [(p.path, p.labels, p.source_split) for p in read(tmp_path, f"t.{suffix}")]
    assert found == [("a.jpg", ("cat",), None), ("b.jpg", ("dog",), None)]


def test_without_roles_each_test_image_is_a_query_and_in_the_gallery(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    rows = ("1 a.jpg train", "1 b.jpg validation", "1 c.jpg test")
    write_csv(tmp_path, ["label", "path", "split"], *rows)
    assert [p.source_split for p in read(tmp_path, "t.csv")] == ["train", "val", "query+gallery"]
    write_csv(tmp_path, ["label", "path", "split"], *rows[:2])
    assert [p.source_split for p in read(tmp_path, "t.csv")] == ["train", "query+gallery"]


def test_a_label_of_two_categories_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    write_csv(tmp_path, [*COLUMNS, "category"], "1 a.jpg train   toys", "1 b.jpg train   cups")
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


def test_a_table_of_another_kind_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "t.xlsx")
    assert error_line(tmp_path, "t.xlsx") == (
        f"{tmp_path}/t.xlsx: found a .xlsx file; allowed: .csv, .tsv, .parquet; set "
        "data.folder.table"
    )


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "t.parquet")
    (tmp_path / "t.csv").write_bytes(b"label,\xff")
    assert error_line(tmp_path, "t.parquet").startswith(
        f"{tmp_path}/t.parquet: damaged, or not a Parquet file ("
    )
    assert error_line(tmp_path, "t.csv").startswith(f"{tmp_path}/t.csv: not a CSV file in UTF-8 (")


def test_an_empty_table_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    assert "found no column label, path;" in error_line(tmp_path, "t.csv")


def summary(found: list[SourceImage]) -> list[tuple[object, ...]]:
    return [(p.path, p.labels, p.group, p.source_split, p.box, p.image_id) for p in found]


PLAIN = """label,path,split,is_query,is_gallery,category,x_1,x_2,y_1,y_2
7,a.jpg,train,,,toys,,,,
7,b b.jpg,test,1,true,toys,1,5,2,6
red cup,c.jpg,test,0,True,,,,,
"""
# As pandas writes it.
WITH_INDEX = "".join(f"{n or ''},{line}\n" for n, line in enumerate(PLAIN.splitlines()))


def as_excel(text: str) -> str:
    return text.replace(",", ";").replace("\n", "\r\n") + ";;;;;;;;;\r\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8-sig"),
        (PLAIN.replace(",", ";"), "utf-8"),
        (as_excel(PLAIN), "utf-8-sig"),
        (PLAIN.replace(",", "\t"), "utf-8"),
        (PLAIN.replace(",", "\t").replace("\n", "\r\n"), "utf-16"),
        (PLAIN.replace(",", ", "), "utf-8"),
        (PLAIN.replace("b b.jpg", '"b b.jpg"').replace(",", ", "), "utf-8"),
        (PLAIN.replace(",", " , "), "utf-8"),
        (PLAIN.replace("\n", ",\n"), "utf-8"),
        (PLAIN.replace("\n", "\n\n,,,,,,,,,\n"), "utf-8"),
        (PLAIN.replace("\n7,", "\n7.0,").replace("1,5,2,6", "1.0,5.0,2.0,6.0"), "utf-8"),
        (PLAIN.replace("\n7,a", "\n7.000,a"), "utf-8"),
        (PLAIN.replace("test,1,true", "test,1.0,1.0").replace("test,0", "test,0.0"), "utf-8"),
        (PLAIN.replace("toys,,,,", "toys,nan,NaN,,nan"), "utf-8"),
        (PLAIN.replace("train,,", "TRAINING,,").replace("test", "Testing"), "utf-8"),
        (PLAIN.replace("a.jpg", "x/../a.jpg").replace("c.jpg", "./c.jpg"), "utf-8"),
        (PLAIN.replace("a.jpg", "{root}/a.jpg").replace("c.jpg", "{root}/x/../c.jpg"), "utf-8"),
        (PLAIN.replace("a.jpg", ".\\a.jpg"), "utf-8"),
        (WITH_INDEX, "utf-8"),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("suffix", ["csv", "TSV"])
def test_a_table_reads_alike_however_it_was_saved(
    tmp_path: Path, text: str, encoding: str, suffix: str
) -> None:
    put(tmp_path, "a.jpg", "b b.jpg", "c.jpg")
    saved = text.replace("{root}", str(tmp_path)).encode(encoding)
    (tmp_path / f"t.{suffix}").write_bytes(saved)
    assert summary(read(tmp_path, f"t.{suffix}")) == [
        ("a.jpg", ("7",), "toys", "train", None, None),
        ("b b.jpg", ("7",), "toys", "query+gallery", (1, 2, 5, 6), "b b.jpg#1,2,5,6"),
        ("c.jpg", ("red cup",), None, "gallery", None, None),
    ]


LABELS: dict[str, Any] = {
    "ints": [3, 3, 12],
    "floats": [3.0, 3.0, 12.0],
    "ints and nothing": pd.Series([3, 3, 12], dtype="Int64"),
    "texts": ["cat", "cat", "dog"],
    "numbers as texts": ["3.0", "3", "12"],
    "categories": pd.Categorical(["cat", "cat", "dog"]),
    "categories of ints": pd.Categorical([3, 3, 12]),
    "bools": [True, True, False],
    "large": [2**60, 2**60, -5],
    "halves": [0.5, 0.5, 1e16],
    "unicode": ["caf\u00e9", "cafe\u0301", "犬"],
    "spaces": [" cat", "cat ", "dog"],
    "quotes": ['a "b", c;d', 'a "b", c;d', "e\tf"],
}
FLAGS: dict[str, Any] = {
    "bools": [False, True, True],
    "ints": [0, 1, 1],
    "floats": [0.0, 1.0, 1.0],
    "floats and nan": [float("nan"), 1.0, 1.0],
    "bools and nothing": pd.Series([None, True, True], dtype="boolean"),
    "objects": pd.Series([None, True, True], dtype="object"),
    "texts": ["", "TRUE", "True"],
    "categories": pd.Categorical(["false", "true", "1"]),
}
SIDES: dict[str, list[Any]] = {
    "int64": [0, 1, 2],
    "float64": [float("nan"), 1, 2],
    "Int64": [None, 1, 2],
    "object": [None, 1, 2.0],
    "string": ["", "1", "2.0"],
    "category": [None, 1, 2],
}


def add(value: Any, more: int) -> Any:
    if isinstance(value, str):
        return value and f"{float(value) + more}"
    return None if value is None else value + more


@pytest.mark.parametrize(
    ("label", "flag", "side"),
    [
        *((label, "bools", "") for label in LABELS),
        *(("texts", flag, "") for flag in FLAGS),
        *(("ints", "bools", side) for side in SIDES),
    ],
)
def test_csv_and_parquet_of_one_data_frame_read_alike(
    tmp_path: Path, label: str, flag: str, side: str
) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    frame = pd.DataFrame({"label": LABELS[label], "path": ["a.jpg", "b.jpg", "c.jpg"]})
    frame["split"] = pd.Categorical(["train", "test", "test"])
    frame["is_query"], frame["is_gallery"] = FLAGS[flag], FLAGS[flag]
    if side:
        for column, more in zip(("x_1", "x_2", "y_1", "y_2"), (0, 8, 0, 8), strict=True):
            frame[column] = pd.Series([add(value, more) for value in SIDES[side]], dtype=side)
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    strings = [c for c, kind in enumerate(table.schema.types) if pa.types.is_string(kind)]
    for column in strings:
        name = table.column_names[column]
        table = table.set_column(column, name, table[name].dictionary_encode())
    pq.write_table(table, tmp_path / "d.parquet")
    found = summary(read(tmp_path, "t.csv"))
    assert found == summary(read(tmp_path, "t.parquet")) == summary(read(tmp_path, "d.parquet"))
    assert [row[3] for row in found] == ["train", "query+gallery", "query+gallery"]
    assert found[0][1] == found[1][1] != found[2][1]


def test_all_faults_of_a_row_are_told(tmp_path: Path) -> None:
    write_csv(tmp_path, BOX_COLUMNS, " z.jpg tran   1 5 2 ", "2  test x x    ")
    assert error_text(tmp_path, "t.csv").splitlines() == [
        f"{tmp_path}/t.csv: line 2, column path: found 'z.jpg', but there is no such file in "
        f"{tmp_path}; allowed: a path relative to data.source; correct it",
        f"{tmp_path}/t.csv: line 2, column label: found nothing; allowed: the name of a class",
        f"{tmp_path}/t.csv: line 2, column split: found 'tran'; allowed: test, train, validation; "
        "did you mean 'train'?",
        f"{tmp_path}/t.csv: line 2, columns x_1, x_2, y_1, y_2: found '1', '5', '2', ''; allowed: "
        "four whole numbers of pixels, or nothing in all four",
        f"{tmp_path}/t.csv: line 3, column path: found '', but there is no such file in "
        f"{tmp_path}; allowed: a path relative to data.source; correct it",
        f"{tmp_path}/t.csv: line 3, column is_query: found 'x'; allowed: true, false, 1, 0, or "
        "nothing for false",
        f"{tmp_path}/t.csv: 6 faults in all",
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_many_faults_the_first_ten_are_told_and_how_many_there_are(
    tmp_path: Path, suffix: str
) -> None:
    frame = pd.DataFrame({"label": "1", "path": [f"{n}.jpg" for n in range(25)], "split": "train"})
    frame["is_query"] = frame["is_gallery"] = False
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    put(tmp_path, "3.jpg")
    lines = error_text(tmp_path, f"t.{suffix}").splitlines()
    place = {"csv": "line 12", "parquet": "row 11"}[suffix]
    assert lines[9:] == [
        f"{tmp_path}/t.{suffix}: {place}, column path: found '10.jpg', but there is no such file "
        f"in {tmp_path}; allowed: a path relative to data.source; correct it",
        f"{tmp_path}/t.{suffix}: 24 faults in all, the first 10 of them above",
    ]


def test_an_image_in_two_rows_without_boxes_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  ", "1 ./a.jpg test 1 1")
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: line 3, column path: found './a.jpg', which is in {tmp_path}/t.csv: "
        "line 2 too; allowed: one row an image, or one a box; remove one"
    )


def test_a_row_with_more_values_than_columns_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_csv(tmp_path, COLUMNS, "1 a.jpg train  ", "1 a b.jpg train 0 0")
    assert error_line(tmp_path, "t.csv") == (
        f"{tmp_path}/t.csv: line 3: found 6 values; allowed: 5, as there are columns; quote a "
        "value that holds the separator"
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_is_there_twice_is_an_error(tmp_path: Path, suffix: str) -> None:
    write_csv(tmp_path, [*COLUMNS, "label", "more", "more"])
    names = [*COLUMNS, "label", "more", "more"]
    pq.write_table(pa.table([pa.array(["1"])] * len(names), names=names), tmp_path / "t.parquet")
    assert error_line(tmp_path, f"t.{suffix}") == (
        f"{tmp_path}/t.{suffix}: found more than one column label, in whatever case; allowed: "
        "each once; remove or rename the others"
    )


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
def test_names_in_two_forms_of_unicode_are_one_label_one_category_and_one_file(
    tmp_path: Path, disk: str
) -> None:
    names = [f"caf\u00e9/{number}.jpg" for number in range(4)]
    put(tmp_path, *(normalize(disk, name) for name in names))
    tea, green, forms = "t\u00eba", "gr\u00fcn", list(product(("NFC", "NFD"), repeat=2))
    rows = [
        f"{normalize(one, tea)} {normalize(two, name)} train   {normalize(two, green)}"
        for name, (one, two) in zip(names, forms, strict=True)
    ]
    write_csv(tmp_path, [*COLUMNS, "category"], *rows)
    found = read(tmp_path, "t.csv")
    assert {(image.labels, image.group) for image in found} == {((tea,), green)}
    assert [image.path for image in found] == [normalize(disk, name) for name in names]


@pytest.mark.parametrize("name", ["t.csv", "./t.csv", "x/../t.csv"])
def test_a_table_in_a_folder_around_everything_is_found(tmp_path: Path, name: str) -> None:
    put(tmp_path, "photos/cat/a.jpg", "__MACOSX/photos/._t.csv")
    write_csv(tmp_path / "photos", COLUMNS, "1 cat/a.jpg train  ")
    assert [image.path for image in read(tmp_path, name)] == ["cat/a.jpg"]


@pytest.mark.parametrize("name", ["photos/t.csv", "{root}/photos/t.csv"])
def test_paths_are_relative_to_the_source_or_to_the_table(tmp_path: Path, name: str) -> None:
    put(tmp_path, "photos/a.jpg", "photos/b.jpg", "b.jpg")
    write_csv(tmp_path / "photos", COLUMNS, *(f"1 {n}.jpg train  " for n in ("a", "b")))
    found = read(tmp_path, name.format(root=tmp_path))
    assert [image.path for image in found] == ["photos/a.jpg", "b.jpg"]
