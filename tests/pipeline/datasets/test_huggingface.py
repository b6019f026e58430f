"""Parquet files of the Hub: which are read, what their labels are called, and what is told."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.huggingface import choose_files, files, read_images
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from tests.helpers.options import dataset_options
from tests.helpers.published import encoded, make_huggingface

OPTIONS = dataset_options("huggingface")


def read(root: Path, **options: Any) -> list[SourceImage]:
    return list(read_images(root, dataset_options("huggingface", **options), 0))


def error_line(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(root, **options)
    (line,) = str(caught.value).splitlines()
    return line


def test_rows_are_images_with_the_names_of_their_classes(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    found = read(tmp_path)
    assert [(each.path, each.labels, each.source_split) for each in found[3:6]] == [
        ("default/test/0000/0000003", ("dog",), "query+gallery"),
        ("default/train/0000/0000000", ("cat",), "train"),
        ("default/train/0000/0000001", ("cat",), "train"),
    ]
    # The fourth row is the first of the second row group.
    assert found[3].read is not None
    assert found[3].read() == encoded(3)


def test_a_dataset_without_a_test_has_no_split_of_its_own(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    assert {each.source_split for each in read(tmp_path, test=None)} == {None}
    assert len(read(tmp_path, test=None)) == 4


def test_columns_may_be_called_otherwise_and_hold_plain_values(tmp_path: Path) -> None:
    table = pa.table({"img": [encoded(1)] * 3, "breed": ["pug", "tabby", None]})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    found = read(tmp_path, test=None, image="img", label="breed")
    assert [each.labels for each in found] == [("pug",), ("tabby",), ()]
    assert found[0].read is not None
    assert found[0].read() == encoded(1)


def test_a_label_without_a_name_is_as_it_is_and_a_secret_one_is_none(tmp_path: Path) -> None:
    make_huggingface(tmp_path, label=[7, -1, 0, 1])
    assert [each.labels for each in read(tmp_path)[:4]] == [(), (), ("cat",), ("dog",)]
    (path,) = tmp_path.glob("default/train/*")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert [each.labels for each in read(tmp_path)[4:]] == [("7",), ("-1",), ("0",), ("1",)]


def test_what_systems_add_is_no_parquet_file(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    number = len(read(tmp_path))
    for name in ("default/train/._0000.parquet", "__MACOSX/default/train/0000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"not a table")
    assert len(read(tmp_path)) == number


def test_a_row_without_bytes_is_rejected_by_its_reason(tmp_path: Path) -> None:
    make_huggingface(tmp_path, image=[{"bytes": None, "path": "a.jpg"}] * 4)
    image = read(tmp_path)[0]
    assert image.read is not None
    with pytest.raises(OSError, match="column image holds no bytes of an image"):
        image.read()


def test_files_of_the_wanted_config_and_splits_are_chosen() -> None:
    names = [
        *("a/train/0000.parquet", "a/train/0001.parquet", "a/test/0000.parquet"),
        *("a/extra/0000.parquet", "b/train/0000.parquet", "README.md", "load.py"),
        *("../a/train/0000.parquet", "/a/train/0000.parquet"),
    ]
    assert choose_files(names, dataset_options("huggingface", config="a"), where="x") == {
        "a/test/0000.parquet": "query+gallery",
        "a/train/0000.parquet": "train",
        "a/train/0001.parquet": "train",
    }
    for names in (["train/x.parquet", "test/y-1.parquet"], ["d/train.parquet", "d/test.parquet"]):
        assert sorted(choose_files(names, OPTIONS, where="x")) == sorted(names)
    flat = ["data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"]
    assert choose_files(flat, OPTIONS, where="x") == {
        "data/test-00000-of-00001.parquet": "query+gallery",
        "data/train-00000-of-00002.parquet": "train",
    }


def test_the_hub_gets_no_request_without_a_path() -> None:
    assert files(OPTIONS) == {}


def test_several_configs_are_an_error(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    make_huggingface(tmp_path, "other")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found the configs default, other; allowed: one; set data.huggingface.config"
    )
    assert len(read(tmp_path, config="other")) == 8


@pytest.mark.parametrize("key", ["train", "test"])
def test_a_missing_split_is_an_error(tmp_path: Path, key: str) -> None:
    make_huggingface(tmp_path)
    assert error_line(tmp_path, **{key: "dev"}) == (
        f"{tmp_path}: found no Parquet file of the split 'dev', but of test, train; allowed: "
        f"<config>/<split>/*.parquet or <split>-*.parquet; set data.huggingface.{key} (or config, "
        "or data.source)"
    )


def test_a_missing_column_is_an_error(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    assert error_line(tmp_path, label="labels") == (
        f"{tmp_path}/default/test/0000.parquet: data.huggingface.label: found 'labels'; allowed: "
        "image, label; did you mean 'label'?"
    )


def test_a_label_that_is_a_list_is_an_error(tmp_path: Path) -> None:
    make_huggingface(tmp_path, label=[[0], [1], [0, 1], []])
    assert error_line(tmp_path) == (
        f"{tmp_path}/default/test/0000.parquet: row 1: found the label [0]; allowed: a text or a "
        "whole number; set data.huggingface.label"
    )


def test_a_file_that_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    make_huggingface(tmp_path)
    (tmp_path / "default/test/0000.parquet").write_text("version https://git-lfs.github.com")
    line = error_line(tmp_path)
    assert line.startswith(
        f"{tmp_path}/default/test/0000.parquet: damaged, or not a Parquet file ("
    )
    assert line.endswith("); get a whole copy")


@pytest.mark.parametrize("about", ["{", "[]", json.dumps({"info": {"features": None}})])
def test_notes_of_another_form_name_no_classes(tmp_path: Path, about: str) -> None:
    make_huggingface(tmp_path)
    for path in tmp_path.rglob("*.parquet"):
        table = pq.read_table(path).replace_schema_metadata({b"huggingface": about.encode()})
        pq.write_table(table, path)
    assert read(tmp_path)[0].labels == ("0",)


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_damaged_page_is_one_line(tmp_path: Path, column: str) -> None:
    make_huggingface(tmp_path)
    path = tmp_path / "default/train/0000.parquet"
    group = pq.ParquetFile(path).metadata.row_group(0)
    names = [group.column(n).path_in_schema.split(".")[0] for n in range(group.num_columns)]
    start = group.column(names.index(column)).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        [image.read() for image in read(tmp_path) if image.read is not None]
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: damaged, or not a Parquet file (Couldn't deserialize thrift")
    assert line.endswith("); get a whole copy")
