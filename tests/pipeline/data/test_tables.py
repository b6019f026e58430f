"""Tables are checked where they are written and where they are read; each mistake is one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.tables import (
    CATALOG,
    CLASSES,
    EMBEDDINGS,
    QUERIES,
    read_metadata,
    read_table,
    write_table,
)
from pipeline.errors import UserError

GOOD = {"label": pa.array([0, 1], pa.int32()), "name": ["a", "b"], "group": ["g", None]}


def classes(**changes: Any) -> pa.Table:
    columns = GOOD | changes
    return pa.table({name: values for name, values in columns.items() if values is not None})


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "classes.parquet"
    write_table(classes(), path, CLASSES)
    assert read_table(path, CLASSES).to_pydict() == classes().to_pydict()
    assert [file.name for file in path.parent.iterdir()] == ["classes.parquet"]


MISTAKES = {
    "a column is missing": (
        {"name": None},
        "columns of classes: missing ['name'], unexpected []; allowed: label, name, group",
    ),
    "a column too many": (
        {"color": ["red", "blue"]},
        "columns of classes: missing [], unexpected ['color']; allowed: label, name, group",
    ),
    "another type": (
        {"label": pa.array([0, 1], pa.int64())},
        "column label: found type int64; allowed: int32",
    ),
    "null": ({"name": ["a", None]}, "column name: 1 values are null; allowed: none"),
    "repeated": (
        {"label": pa.array([1, 1], pa.int32())},
        "column label: a value is repeated; allowed: each once",
    ),
}


@pytest.mark.parametrize(("changes", "line"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_at_both_ends(changes: Any, line: str, tmp_path: Path) -> None:
    path, table = tmp_path / "classes.parquet", classes(**changes)
    with pytest.raises(UserError) as writing:
        write_table(table, path, CLASSES)
    assert str(writing.value) == f"{path}: {line}"
    assert not list(tmp_path.iterdir())
    pq.write_table(table, path)
    with pytest.raises(UserError) as reading:
        read_table(path, CLASSES)
    assert str(reading.value) == f"{path}: {line}"


def test_labels_and_embeddings_have_types_of_their_own(tmp_path: Path) -> None:
    vectors = pa.table({"image_id": ["a"], "embedding": [[0.5, 0.25]]})
    with pytest.raises(UserError, match=r"found type list.*; allowed: fixed_size_list<float>\[D\]"):
        write_table(vectors, tmp_path / "vectors.parquet", EMBEDDINGS)
    wide = {field.name: pa.nulls(1, field.type) for field in CATALOG.columns}
    wide["labels"] = pa.array([[1]], pa.list_(pa.int64()))
    with pytest.raises(UserError, match=r"column labels: found type list<\w+: int64>; allowed"):
        write_table(pa.table(wide | {"image_id": ["a"]}), tmp_path / "c.parquet", CATALOG)


def test_a_lack_of_memory_is_not_told_as_damage_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    write_table(classes(), path, CLASSES)

    def fail(*_: Any, **__: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 9 failed")

    monkeypatch.setattr("pipeline.data.tables._check", fail)
    with pytest.raises(UserError) as caught:
        read_table(path, CLASSES)
    assert str(caught.value) == (
        f"{path}: too large for the free memory, damaged, or not a Parquet file (malloc of size 9 "
        "failed); get it back: dvc checkout, or make it again: dvc repro"
    )


def test_an_open_table_takes_metrics_and_nothing_else(tmp_path: Path) -> None:
    row = {field.name: pa.array([0], field.type) for field in QUERIES.columns
           if not pa.types.is_string(field.type)}  # fmt: skip
    row |= {field.name: pa.array(["a"]) for field in QUERIES.columns if field.name not in row}
    write_table(pa.table(row | {"recall_at_3": [0.5]}), tmp_path / "q.parquet", QUERIES)
    assert read_table(tmp_path / "q.parquet", QUERIES)["recall_at_3"].to_pylist() == [0.5]
    with pytest.raises(UserError, match=r"unexpected \['note'\]"):
        write_table(pa.table(row | {"note": ["x"]}), tmp_path / "q.parquet", QUERIES)


def test_no_file_and_no_parquet_file(tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        read_table(tmp_path / "none.parquet", CLASSES)
    line = f"{tmp_path / 'none.parquet'}: no such file; run the stage that writes it: dvc repro"
    assert str(missing.value) == line
    (tmp_path / "text.parquet").write_text("label,name\n")
    with pytest.raises(UserError) as damaged:
        read_table(tmp_path / "text.parquet", CLASSES)
    told = str(damaged.value)
    assert told.startswith(f"{tmp_path}/text.parquet: damaged, or not a Parquet file (")
    assert told.endswith("); get it back: dvc checkout, or make it again: dvc repro")


def test_damaged_bytes_are_told_and_never_read_as_other_values(tmp_path: Path) -> None:
    """Each byte of the pages is in a checksum; of the others, some are without meaning."""
    path, random = tmp_path / "t.parquet", np.random.default_rng(0)
    numbers = pa.array(random.random(50 * 8, dtype=np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(numbers, 8)
    table = pa.table({"image_id": [f"{n:02}" for n in range(50)], "embedding": vectors})
    write_table(table, path, EMBEDDINGS, metadata={"key": "text"})
    whole, right = path.read_bytes(), read_table(path, EMBEDDINGS)
    told = []
    for number in range(400):
        damaged = bytearray(whole)
        place = int(random.integers(len(whole)))
        if number % 2:
            damaged[place] ^= 1 << int(random.integers(8))
        else:
            del damaged[place:]
        path.write_bytes(damaged)
        try:
            assert read_table(path, EMBEDDINGS).equals(right)
            read_metadata(path)
        except UserError as error:
            told.append(str(error))
    assert len(told) > 300
    assert not any("\n" in line for line in told)


@pytest.mark.parametrize(("kind", "column"), [(EMBEDDINGS, "embedding"), (CATALOG, "labels")])
def test_a_null_in_a_list_is_named(kind: Any, column: str, tmp_path: Path) -> None:
    columns = {field.name: pa.array(["a"]).cast(field.type) for field in kind.columns
               if field.type == pa.string()}  # fmt: skip
    columns |= {"width": pa.array([1], pa.int32()), "height": pa.array([1], pa.int32())}
    columns |= {"labels": pa.array([[1, None]], pa.list_(pa.int32()))}
    columns |= {"embedding": pa.array([[0.5, None]], pa.list_(pa.float32(), 2))}
    names = [field.name for field in kind.columns]
    pq.write_table(pa.table(columns).select(names), tmp_path / "t.parquet")
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "t.parquet", kind)
    wanted = f"{tmp_path / 't.parquet'}: column {column}: 1 values in lists are null; allowed: none"
    assert str(caught.value) == wanted
