"""The split stage as DVC runs it: what it tells of a choice that training will refuse."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.tables import CATALOG, LABELS, write_table
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module


@pytest.mark.parametrize("several", ["everywhere", "in test", "nowhere"])
def test_a_loss_for_one_label_is_told_of_before_the_long_stages(
    several: str, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    count = 20
    labels = [[0, 1] if several == "everywhere" else [row % 4] for row in range(count)]
    parts = pa.nulls(count, pa.string())
    if several == "in test":
        labels[-1] = [0, 1]
        parts = pa.array(["train"] * 10 + ["query+gallery"] * 10)
    ids = [f"{row:02}" for row in range(count)]
    nothing, one = pa.nulls(count, pa.string()), pa.array([1] * count, pa.int32())
    columns = [ids, pa.array(labels, LABELS), nothing, parts, ids, one, one]
    catalog = dict(zip((field.name for field in CATALOG.columns), columns, strict=True))
    write_table(pa.table(catalog), tmp_path / "catalog.parquet", CATALOG)
    files = ("--catalog", "catalog.parquet", "--out", "s.parquet")
    ran = run_module(tmp_path, "stages.split", *files)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "s.parquet").is_file()
    told = (
        "split: train will stop at this: params.yaml: loss.name: found 'multi_similarity'; the "
        "images have several labels; allowed: supcon, triplet\n"
    )
    assert (told in ran.stderr) == (several == "everywhere")
