"""The folder of results: two processes that write at once, and a failed one."""

from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from app.output_folder import OutputFolder
from pipeline.data.tables import Table
from pipeline.errors import UserError

KIND = Table("things", (pa.field("name", pa.string(), nullable=False),), key="name")


def open_folder(place: Path) -> OutputFolder:
    return OutputFolder(place, kind=KIND, what="thing", sheets=["sheet*.png"], root=place.parent)


def fill(results: OutputFolder, name: str) -> None:
    results.add_sheet(Image.new("RGB", (2, 2)))
    results.add_table(pa.table({"name": [name]}, schema=pa.schema(KIND.columns)))


def test_two_processes_that_write_at_once_do_not_mix_their_files(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with open_folder(place).writing() as one:
        one.add_sheet(Image.new("RGB", (2, 2)))
        with open_folder(place).writing() as other:
            fill(other, "other")
        fill(one, "one")
    names = ["sheet_001.png", "sheet_002.png", "things.parquet"]
    assert sorted(path.name for path in place.iterdir()) == names


def test_a_folder_without_results_is_removed(tmp_path: Path) -> None:
    with open_folder(tmp_path / "out").writing():
        pass
    assert not (tmp_path / "out").exists()


DAG = """\
stages:
  evaluate:
    cmd: ...
    outs: ["results/${item.model}"]
    metrics: ["metrics/${item.model}.json": {cache: false}]
  plot:
    cmd: ...
    outs: [plots/figures, plots/report.html]
"""


@pytest.mark.parametrize(
    ("name", "output"),
    {
        "plots": "plots/figures",
        "plots/figures": "plots/figures",
        "plots/figures/mine": "plots/figures",
        "results/finetuned": "results",
        "metrics": "metrics",
        ".": "results",
    }.items(),
)
def test_a_folder_that_a_stage_writes_is_refused(tmp_path: Path, name: str, output: str) -> None:
    (tmp_path / "dvc.yaml").write_text(DAG)
    with pytest.raises(UserError) as error:
        OutputFolder(tmp_path / name, kind=KIND, what="thing", sheets=[], root=tmp_path)
    assert str(error.value) == (
        f"{tmp_path / name}: found {tmp_path / output}, which dvc repro writes; allowed: a folder "
        "of its own; choose --out"
    )


@pytest.mark.parametrize("name", ["plots/mine", "queries", "resultsandmore"])
def test_a_folder_beside_the_outputs_of_stages_is_allowed(tmp_path: Path, name: str) -> None:
    (tmp_path / "dvc.yaml").write_text(DAG)
    allowed = OutputFolder(tmp_path / name, kind=KIND, what="thing", sheets=[], root=tmp_path)
    assert allowed.folder == tmp_path / name
    assert not allowed.folder.exists()  # it is made when something is written
