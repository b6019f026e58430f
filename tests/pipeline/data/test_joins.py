"""Tables are joined by image_id, and an unknown one is named."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.embeddings import read_embeddings, write_embeddings
from pipeline.data.joins import RowLookup, read_embedded_split, read_labels
from pipeline.data.tables import CATALOG, SPLITS, write_table
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from tests.helpers.dataset_tables import build_catalog, build_splits


def write_splits(path: Path, ids: list[str]) -> None:
    write_table(build_splits(dict.fromkeys(ids, "test")), path, SPLITS)


def write_catalog(path: Path, labels: dict[str, list[int]]) -> None:
    write_table(build_catalog(labels), path, CATALOG)


def test_embeddings_come_back_bit_for_bit(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_embeddings(tmp_path / "e.parquet", list("abcde"), vectors)
    ids, read = read_embeddings(tmp_path / "e.parquet")
    assert ids == list("abcde")
    np.testing.assert_array_equal(read, vectors)


def test_rows_are_joined_by_image_id_not_by_position(tmp_path: Path) -> None:
    splits, embeddings, catalog = (tmp_path / f"{name}.parquet" for name in "sec")
    write_splits(splits, ["a", "b", "c"])
    write_embeddings(embeddings, ["c", "a", "b"], np.array([[3], [1], [2]], np.float32))
    write_catalog(catalog, {"b": [20, 2], "c": [3], "a": [1], "unused": [9]})
    aligned = read_embedded_split(embeddings, splits)
    assert sorted(aligned.ids) == ["a", "b", "c"]
    vector_of = {"a": [1], "b": [2], "c": [3]}
    assert aligned.vectors.tolist() == [vector_of[image_id] for image_id in aligned.ids]
    labels = read_labels(catalog, ["a", "b", "c"], ids_from=splits)
    assert labels.values.tolist() == [1, 2, 20, 3]
    assert labels.starts.tolist() == [0, 1, 3, 4]


def test_the_order_of_ties_is_that_of_no_file(tmp_path: Path) -> None:
    ids = [f"{folder}/{number}" for folder in ("ant", "bee") for number in range(20)]
    found = []
    for splits_ids, embedded_ids in ((ids, ids), (ids[::-1], ids[5:] + ids[:5])):
        write_splits(tmp_path / "s", splits_ids)
        vectors = np.array([[ids.index(each)] for each in embedded_ids], np.float32)
        write_embeddings(tmp_path / "e", embedded_ids, vectors)
        found.append(read_embedded_split(tmp_path / "e", tmp_path / "s"))
    one, other = found
    assert one.ids.tolist() == other.ids.tolist() == [ids[row] for row in tie_order(ids)]
    assert np.array_equal(one.vectors, other.vectors)
    folders = [each.split("/")[0] for each in one.ids]
    assert 8 <= sum(a != b for a, b in itertools.pairwise(folders)) <= 31  # 1 if sorted


def test_an_unknown_image_id_is_named_with_both_tables(tmp_path: Path) -> None:
    splits, embeddings, catalog = (tmp_path / f"{name}.parquet" for name in "sec")
    write_splits(splits, ["a", "b", "x", "y"])
    write_embeddings(embeddings, ["a", "b"], np.ones((2, 1), np.float32))
    with pytest.raises(UserError) as caught:
        read_embedded_split(embeddings, splits)
    assert str(caught.value) == (
        f"{splits}: 2 of 4 image_ids are not in {embeddings}, the first is 'x'; both must come "
        "from one run: dvc repro"
    )
    write_splits(splits, ["a"])
    with pytest.raises(UserError) as caught:
        read_embedded_split(embeddings, splits)
    assert str(caught.value) == (
        f"{embeddings}: 1 of 2 image_ids are not in {splits}, the first is 'b'; both must come "
        "from one run: dvc repro"
    )
    write_catalog(catalog, {"a": [1]})
    with pytest.raises(UserError) as caught:
        read_labels(catalog, ["z"], ids_from=splits)
    assert str(caught.value) == (
        f"{splits}: 1 of 1 image_ids are not in {catalog}, the first is 'z'; both must come from "
        "one run: dvc repro"
    )


def test_one_row_is_found_by_its_image_id_or_named() -> None:
    rows = RowLookup(["b", "a"], table=Path("t.parquet"))
    assert (rows.find("a"), rows.get("b"), rows.get("x")) == (1, 0, None)
    with pytest.raises(UserError) as caught:
        rows.find("x")
    assert str(caught.value) == "t.parquet: no image has image_id 'x'; run: dvc repro"
