"""The split stage as DVC runs it: what it refuses before the long stages, and what it tells."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from pipeline.data.chosen import read_chosen, read_untrained
from pipeline.data.tables import SPLITS, read_table
from tests.helpers.dataset_tables import (
    build_catalog,
    build_classes,
    build_health,
    write_dataset_tables,
)
from tests.helpers.overlay import overlaid
from tests.helpers.processes import run_stage

Groups = Sequence[Sequence[str]]


def split(
    folder: Path, catalog: pa.Table, *, exact: Groups = (), near: Groups = (), **changes: object
) -> subprocess.CompletedProcess[str]:
    """Run the stage on `catalog`, with params.yaml as it is but for `changes`.

    exact, near: groups of duplicates.
    """
    with (folder / "params.yaml").open("w") as out:
        YAML().dump(overlaid(changes), out)
    health = build_health(catalog["image_id"].to_pylist(), exact=exact, near=near)
    write_dataset_tables(folder, catalog=catalog, classes=build_classes([*"abcde"]), health=health)
    tables = [f"--{name}={name}.parquet" for name in ("catalog", "classes", "health")]
    return run_stage(folder, "split", *tables, "--out", "s.parquet")


def test_duplicates_on_both_sides_of_an_official_split_are_told_and_stay(tmp_path: Path) -> None:
    labels = {f"{row:02}": [row % 4] for row in range(80)}
    official = ["train"] * 60 + ["query+gallery"] * 20
    exact, near = [("01", "61"), ("02", "06")], [("03", "63", "64"), ("65", "69")]
    ran = split(tmp_path, build_catalog(labels, source_splits=official), exact=exact, near=near)
    assert ran.returncode == 0, ran.stderr
    across = [line for line in ran.stderr.splitlines() if "across train, val and test" in line]
    assert across == [
        "split: exact duplicates across train, val and test: 1 group of 2 images, first '01', '61'",
        "split: near duplicates across train, val and test: 1 group of 3 images, first '03', "
        "'63' and 1 more",
    ]
    splits = read_table(tmp_path / "s.parquet", SPLITS).to_pylist()
    assert {row["split"] for row in splits[:60]} == {"train", "val"}
    assert {row["split"] for row in splits[60:]} == {"test"}


@pytest.mark.parametrize("several", ["everywhere", "in test", "nowhere"])
def test_a_loss_for_one_label_stops_before_the_long_stages(several: str, tmp_path: Path) -> None:
    count = 80
    labels = {f"{row:02}": [0, 1] if several == "everywhere" else [row % 4] for row in range(count)}
    official = None
    if several == "in test":
        labels["79"] = [0, 1]
        official = ["train"] * 60 + ["query+gallery"] * 20
    ran = split(tmp_path, build_catalog(labels, source_splits=official))
    assert ran.returncode == (2 if several == "everywhere" else 0), ran.stderr
    refusal = (
        "split: loss.name: found 'multi_similarity'; the images have several labels; allowed: "
        "supcon, triplet\n"
    )
    assert (refusal in ran.stderr) == (several == "everywhere")
    assert (tmp_path / "s.parquet").is_file() == (several != "everywhere")


def test_all_that_would_stop_a_later_stage_is_told_at_once(tmp_path: Path) -> None:
    changes = {"batches__pk__classes": 16, "batches__pk__per_class": 9}
    ran = split(tmp_path, build_catalog({f"{row:02}": [row % 4] for row in range(80)}), **changes)
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "split: batches.pk.classes: found 16; the train split has 4 classes; allowed: auto, or at "
        "most 4",
        "batches.pk.per_class: found 9; the largest class of the train split has 5 images; "
        "allowed: auto, or at most 5",
    ]


def test_a_variant_that_cannot_train_these_images_is_told_here_too(tmp_path: Path) -> None:
    several = {
        "loss__name": "supcon",
        "models": ["baseline", "finetuned", "large", "other"],
        "variants": {
            "large": {"batches": {"name": "pk", "pk": {"classes": 90, "per_class": "auto"}}},
            "other": {"loss": {"name": "circle", "circle": {"m": 0.4, "gamma": 80.0}}},
        },
    }
    ran = split(tmp_path, build_catalog({f"{row:02}": [0, 1] for row in range(80)}), **several)
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "split: variants.large: batches.pk.classes: found 90; the train split has 2 classes; "
        "allowed: auto, or at most 2",
        "variants.other: loss.name: found 'circle'; the images have several labels; allowed: "
        "supcon, triplet",
    ]


def test_a_split_that_was_asked_for_and_cannot_validate_is_refused(tmp_path: Path) -> None:
    catalog = build_catalog({f"{row:02}": [row % 4] for row in range(40)})
    ran = split(tmp_path, catalog, split__protocol="random", split__test_fraction=0.99)
    assert ran.returncode == 2
    assert ran.stderr.startswith(
        "split: found no image for validation, so no best epoch can be chosen; allowed: "
        "one or more; lower split.test_fraction, or raise split.val_fraction, or "
    )
    assert not (tmp_path / "s.parquet").exists()


def test_too_few_images_are_searched_and_the_reader_is_told_why(tmp_path: Path) -> None:
    ran = split(tmp_path, build_catalog({f"{row:02}": [row % 2] for row in range(16)}))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[:3] == [
        "split: nothing is trained, so the models baseline and finetuned are the same; all images "
        "can be searched. Why:",
        "split: found 4 validation images to search among 3 others; allowed: 5 others or more; "
        "lower split.test_fraction, or raise split.val_fraction, or set split.val_by image (of few "
        "images: split.protocol random, split.val_by image and split.val_fraction 0.5)",
        "split: auto chose split.protocol test_only",
    ]
    assert read_chosen(tmp_path / "s.parquet") == {"split.protocol": "test_only"}
    assert read_untrained(tmp_path / "s.parquet").startswith("found 4 validation images to search")


def test_one_class_is_searched_and_not_measured(tmp_path: Path) -> None:
    ran = split(tmp_path, build_catalog({f"{row:02}": [0] for row in range(9)}))
    assert ran.returncode == 0, ran.stderr
    assert "split: nothing is measured, because no image can be a query\n" in ran.stderr
    assert (
        "split: all images are of one class, or of none, so there is nothing to tell apart; to "
        "train and to measure, put them into folders of two classes or more\n"
    ) in ran.stderr


def test_folders_by_which_nothing_can_be_measured_stop_here(tmp_path: Path) -> None:
    labels = {f"{n:02}": [n % 4] for n in range(40)} | {f"t{n}": [n] for n in range(3)}
    roles = ["train"] * 40 + ["query+gallery"] * 3
    ran = split(tmp_path, build_catalog(labels, source_splits=roles), data__name="folder")
    assert ran.returncode == 2
    measured, remedy = ran.stderr.splitlines()
    assert measured.startswith("split: none of the 3 queries has another image of its class")
    assert remedy == (
        "split.protocol auto follows how the images are split already (by folders train, val and "
        "test or by a table); random splits them anew, test_only trains on none"
    )
    assert not (tmp_path / "s.parquet").exists()


def test_of_own_folders_a_copy_of_a_test_image_is_not_trained_on(tmp_path: Path) -> None:
    labels = {f"{row:02}": [row % 4] for row in range(60)}
    roles = ["train"] * 40 + ["query+gallery"] * 20
    ran = split(
        tmp_path,
        build_catalog(labels, source_splits=roles),
        exact=[("01", "41")],
        data__name="folder",
    )
    assert ran.returncode == 0, ran.stderr
    splits = {
        row["image_id"]: row["split"]
        for row in read_table(tmp_path / "s.parquet", SPLITS).to_pylist()
    }
    assert (splits["01"], splits["41"]) == ("unused", "test")


def test_a_class_without_a_name_is_one_line(tmp_path: Path) -> None:
    ran = split(tmp_path, build_catalog({f"{row:02}": [row % 7] for row in range(80)}))
    assert ran.returncode == 2
    assert (
        ran.stderr == "split: data/classes.parquet: label 5 has no name; run: dvc repro download\n"
    )
