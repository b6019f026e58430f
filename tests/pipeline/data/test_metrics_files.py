"""Metrics files: labelled with their dataset, and read together only if it is one."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.metrics_files import (
    keep_numbers,
    label_metrics,
    read_metrics_files,
    tell_of_other_datasets,
)
from pipeline.errors import UserError


def write(folder: Path, **files: dict[str, Any]) -> list[Path]:
    for stem, values in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(values))
    return [folder / f"{stem}.json" for stem in files]


def test_the_labels_come_first_and_are_no_numbers() -> None:
    labelled = label_metrics({"map": 0.5}, dataset="products", fingerprint="0123456789abcdef")
    assert list(labelled) == ["dataset", "fingerprint", "map"]
    assert keep_numbers(labelled) == {"map": 0.5}


def test_files_of_one_dataset_are_read_as_numbers(tmp_path: Path) -> None:
    one, other = (
        label_metrics({"map": value}, dataset="products", fingerprint="0123456789abcdef")
        for value in (0.5, 1)
    )
    assert read_metrics_files(write(tmp_path, a=one, b=other)) == {
        "a": {"map": 0.5},
        "b": {"map": 1},
    }
    # Files of earlier releases have no labels.
    assert read_metrics_files(write(tmp_path, a={"map": 1}, b={})) == {"a": {"map": 1}, "b": {}}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"fingerprint": "fedcba9876543210"}, "products fedcba9"),
        ({"dataset": "folder"}, "folder 0123456"),
        ({"dataset": None, "fingerprint": None}, "an unnamed dataset"),
    ],
)
def test_two_datasets_are_refused(tmp_path: Path, changed: dict[str, Any], text: str) -> None:
    one = label_metrics({"map": 0.5}, dataset="products", fingerprint="0123456789abcdef")
    other = {name: value for name, value in (one | changed).items() if value is not None}
    paths = write(tmp_path, baseline=one, finetuned=other)
    with pytest.raises(UserError) as caught:
        read_metrics_files(paths)
    assert str(caught.value) == (
        f"{paths[0]}: of products 0123456; {paths[1]}: of {text}; allowed: one dataset; "
        "run: dvc repro"
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"map": "high"}, "map: found 'high'; allowed: a number"),
        ({"map": 0.5, "recall_at_1": None}, "recall_at_1: found None; allowed: a number"),
        ({"dataset": 7}, "dataset: found 7; allowed: a text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    (path,) = write(tmp_path, baseline=values)
    with pytest.raises(UserError) as caught:
        read_metrics_files([path])
    assert str(caught.value) == f"{path}: {told}; run the stage that writes it: dvc repro"


def test_files_of_another_dataset_are_told_when_one_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        stem: label_metrics({"map": 0.5}, dataset=dataset, fingerprint=fingerprint)
        for stem, dataset, fingerprint in (
            ("baseline", "folder", "0123456789"),
            ("finetuned", "products", "0123456789"),
            ("train", "folder", "9876543210"),
        )
    }
    written, *_ = write(tmp_path, **files, notes={}, mine={"map": "high"}, third=files["baseline"])
    (tmp_path / "broken.json").write_text("{")
    with caplog.at_level("INFO"):
        tell_of_other_datasets(written)
    assert caplog.messages == [
        f"{written} is of folder 0123456; until dvc repro ends, not to be compared with "
        "finetuned.json of products 0123456, train.json of folder 9876543"
    ]


def test_nothing_is_told_of_one_dataset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = label_metrics({"map": 0.5}, dataset="products", fingerprint="0123456789")
    written, *_ = write(tmp_path, baseline=one, finetuned=one, notes={"map": 1})
    with caplog.at_level("INFO"):
        tell_of_other_datasets(written)
    assert caplog.messages == []
