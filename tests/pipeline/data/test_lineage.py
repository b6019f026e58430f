"""A model's digest is of what it holds, and survives in the metadata of tables."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.embeddings import read_embeddings, read_lineage, write_embeddings
from pipeline.data.lineage import (
    KEY,
    MODEL_FILES,
    Lineage,
    digest_model,
    from_metadata,
    to_metadata,
)
from pipeline.errors import UserError
from pipeline.index.build import build_index, read_index_lineage, write_index
from pipeline.models.embedder import SPEC_FILE, WEIGHTS_FILE

MADE = Lineage("0123456789abcdef", hflip=True, precision="bf16")
VECTORS = np.eye(3, dtype=np.float32)


def write_model(folder: Path, description: str = "a", weights: str = "b") -> Path:
    folder.mkdir()
    for name, text in zip(MODEL_FILES, (description, weights), strict=True):
        (folder / name).write_text(text)
    return folder


def test_the_files_are_those_that_a_model_is_saved_in() -> None:
    assert sorted(MODEL_FILES) == sorted((SPEC_FILE, WEIGHTS_FILE))


def test_a_digest_is_of_both_files_and_of_no_path(tmp_path: Path) -> None:
    one = digest_model(write_model(tmp_path / "one"))
    assert one == digest_model(write_model(tmp_path / "two"))
    assert len(one) == 16
    others = [
        digest_model(write_model(tmp_path / "three", "c", "b")),
        digest_model(write_model(tmp_path / "four", "a", "c")),
        digest_model(write_model(tmp_path / "five", "b", "a")),
    ]
    assert len({one, *others}) == 4


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_file_is_an_error_with_how_to_get_it(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(UserError) as error:
        digest_model(folder)
    assert str(error.value) == (
        f"{folder / name}: no such file; a model is a directory with model.json and "
        "model.safetensors; make it: dvc repro, or if the project has a remote, fetch it: dvc pull"
    )


def test_embeddings_and_index_tell_how_they_were_made(tmp_path: Path) -> None:
    table = tmp_path / "m"
    write_embeddings(table, ["a", "b", "c"], VECTORS, MADE)
    index = build_index(VECTORS, factory="Flat", distance="cosine", seed=0)
    write_index(tmp_path / "index", index, ["a", "b", "c"], MADE)
    assert read_lineage(table) == MADE
    assert read_index_lineage(tmp_path / "index") == MADE
    ids, vectors = read_embeddings(table)
    assert ids == ["a", "b", "c"]
    assert np.array_equal(vectors, VECTORS)


def test_the_same_provenance_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_embeddings(tmp_path / name, ["a", "b", "c"], VECTORS, MADE)
    files = [sorted((tmp_path / name).iterdir()) for name in ("a", "b")]
    assert [path.name for path in files[0]] == ["00000.parquet", "_manifest.parquet"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_what_tells_nothing_or_not_what_is_needed_is_none(tmp_path: Path) -> None:
    table = tmp_path / "m"
    write_embeddings(table, ["a", "b", "c"], VECTORS)
    assert read_lineage(table) is None
    assert from_metadata(to_metadata(None)) is None
    for held in ("not JSON", "[]", "{}", '{"model": "a", "unknown": 1}'):
        assert from_metadata({KEY: held}) is None
