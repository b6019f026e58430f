"""What surrounds every stage: the checked params, the one line, the exit status, the time."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module

STAGE = """
from stages import runner
from pipeline.errors import UserError

def main(fail: bool = False) -> str:
    runner.load()
    if fail:
        raise UserError("data/x.parquet: found nothing; allowed: something; run: dvc repro")
    return "baseline"

runner.run(main, "embed")
"""


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (place / "stage.py").write_text(STAGE)
    return run_module(place, "stage", *arguments)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def test_a_users_mistake_is_one_line_and_status_2(place: Path) -> None:
    ran = run(place, "--fail")
    assert ran.returncode == 2
    assert ran.stderr == (
        "embed: data/x.parquet: found nothing; allowed: something; run: dvc repro\n"
    )
    assert not (place / "logs").exists()


def test_a_mistake_in_params_stops_a_stage_that_does_not_read_it(place: Path) -> None:
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("seed: 7 ", "sed: 7 "))
    ran = run(place)
    assert ran.returncode == 2
    assert ran.stderr.startswith("embed: params.yaml: sed: unknown key; found 'sed'; allowed: ")
    assert ran.stderr.endswith("did you mean 'seed'?\n")


def test_the_time_of_a_stage_is_noted_beside_its_model_not_in_a_versioned_file(place: Path) -> None:
    ran = run(place)
    assert ran.returncode == 0
    assert ran.stderr.startswith("embed: baseline: ")
    noted = json.loads((place / "logs/times/embed_baseline.json").read_text())
    assert 0 <= noted["seconds"] < 3600


def test_quiet_leaves_out_what_is_no_warning(place: Path) -> None:
    assert run(place, "--quiet").stderr == ""
    assert "embed: baseline: " in run(place, "-v").stderr
