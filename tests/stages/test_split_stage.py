"""The split stage as DVC runs it: its warning of a choice that training will refuse."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.dataset_tables import build_catalog, write_dataset_tables
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module


@pytest.mark.parametrize("several", ["everywhere", "in test", "nowhere"])
def test_a_loss_for_one_label_is_warned_of_before_the_long_stages(
    several: str, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    count = 40
    labels = {f"{row:02}": [0, 1] if several == "everywhere" else [row % 4] for row in range(count)}
    official = None
    if several == "in test":
        labels["39"] = [0, 1]
        official = ["train"] * 20 + ["query+gallery"] * 20
    write_dataset_tables(tmp_path, catalog=build_catalog(labels, source_splits=official))
    files = ("--catalog", "catalog.parquet", "--out", "s.parquet")
    ran = run_module(tmp_path, "stages.split", *files)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "s.parquet").is_file()
    warning = (
        "split: train will stop at this: params.yaml: loss.name: found 'multi_similarity'; the "
        "images have several labels; allowed: supcon, triplet\n"
    )
    assert (warning in ran.stderr) == (several == "everywhere")


def test_a_split_without_validation_stops_before_the_long_stages(tmp_path: Path) -> None:
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        params.replace("test_fraction: 0.5", "test_fraction: 0.99")
    )
    write_dataset_tables(
        tmp_path, catalog=build_catalog({f"{row:02}": [row % 4] for row in range(40)})
    )
    ran = run_module(tmp_path, "stages.split", "--catalog", "catalog.parquet", "--out", "s.parquet")
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "split: split: found no image for validation, so no best epoch can be chosen; allowed: "
        "one or more; lower split.test_fraction, or raise split.val_fraction, or "
    )
    assert not (tmp_path / "s.parquet").exists()
