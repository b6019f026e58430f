"""Fingerprints change with what they are of, and with nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.fingerprint import (
    DatasetFingerprint,
    fingerprint_files,
    read_dataset_fingerprint,
)
from pipeline.data.tables import CATALOG, write_table
from pipeline.errors import UserError
from tests.helpers.dataset_tables import build_catalog

IMAGES: list[dict[str, Any]] = [
    {"labels": ["b", "a"], "group": None, "source_split": "train", "encoded": b"1"},
    {"labels": ["c"], "group": "g", "source_split": None, "encoded": b"2"},
]


def test_a_fingerprint_changes_with_settings_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    first = fingerprint_files("lr 1", [folder])
    assert fingerprint_files("lr 1", [folder]) == first
    assert fingerprint_files("lr 2", [folder]) != first
    (folder / "a").write_text("two")
    second = fingerprint_files("lr 1", [folder])
    assert second != first
    (folder / "a").rename(folder / "b")
    assert fingerprint_files("lr 1", [folder]) not in {first, second}


def fingerprint_of(images: list[dict[str, Any]]) -> dict[str, str]:
    found = DatasetFingerprint()
    for number, image in enumerate(images):
        digest = image["encoded"] and hashlib.sha256(image["encoded"]).digest()
        row = {key: value for key, value in image.items() if key != "encoded"}
        found.add(str(number), **row, image_digest=digest or None)
    return found.to_metadata()


def test_the_fingerprint_of_a_dataset_is_one_digest_of_the_digests_of_its_rows_and_images() -> None:
    digest = hashlib.sha256()
    for part in (
        json.dumps(["0", ["a", "b"], None, "train"]).encode(),
        b"1",
        json.dumps(["1", ["c"], "g", None]).encode(),
        b"2",
    ):
        digest.update(hashlib.sha256(part).digest())
    assert fingerprint_of(IMAGES) == {"lookalike.fingerprint": digest.hexdigest()[:16]}


def test_the_order_and_repeats_of_labels_count_for_nothing() -> None:
    first, second = IMAGES
    assert fingerprint_of([first | {"labels": ["a", "b", "a"]}, second]) == fingerprint_of(IMAGES)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["a"]},
        {"labels": ["c", "a"]},
        {"group": "g"},
        {"source_split": "val"},
        {"encoded": b""},
        {"encoded": b"0"},
    ],
)
def test_the_fingerprint_of_a_dataset_changes_with_each_field(change: dict[str, Any]) -> None:
    first, second = IMAGES
    assert fingerprint_of([first | change, second]) != fingerprint_of(IMAGES)


def test_a_catalog_without_a_fingerprint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "catalog.parquet"
    write_table(build_catalog({"a": [0]}), path, CATALOG)
    with pytest.raises(UserError) as caught:
        read_dataset_fingerprint(path)
    assert str(caught.value) == (
        f"{path}: found no fingerprint of the dataset in its metadata; allowed: a catalog of the "
        "download stage; run: dvc repro download"
    )
