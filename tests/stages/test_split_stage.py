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
    count = 20
    labels = {f"{row:02}": [0, 1] if several == "everywhere" else [row % 4] for row in range(count)}
    official = None
    if several == "in test":
        labels["19"] = [0, 1]
        official = ["train"] * 10 + ["query+gallery"] * 10
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
