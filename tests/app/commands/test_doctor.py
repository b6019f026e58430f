"""`lookalike doctor`: what is there, what is to be mended, and how long a run takes."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.commands import doctor
from app.commands.doctor import _duration, _rate, examine
from pipeline.data.tables import SPLITS, read_table
from tests.helpers.clone import change_params
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_lookalike

pytestmark = pytest.mark.slow


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    """A project with images, a split and models, and the DAG of this one."""
    copy = tmp_path / "project"
    shutil.copytree(searchable, copy)
    shutil.copy(ROOT / "dvc.yaml", copy)
    change_params(copy, {"backbone.name": "timm:test_vit", "backbone.weights": None})
    return copy


def sections(text: str) -> dict[str, list[str]]:
    """Return heading -> its lines, of two columns, without the blanks between these."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            lines = found.setdefault(line.removesuffix(":"), [])
        else:
            lines.append(re.sub(" {2,}", "  ", line.strip()))
    return found


def test_one_screen_says_what_there_is_and_how_long_a_run_takes(project: Path) -> None:
    (project / ".dvc").mkdir()
    remote = (
        "[core]\n    remote = store\n['remote \"store\"']\n    url = https://me:secret@host/a%20b\n"
    )
    (project / ".dvc/config").write_text(remote)
    ran = run_lookalike(project, "doctor")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) < 25
    found = sections(ran.stdout)
    assert list(found) == [
        *("this machine", "this project", "a run of params.yaml takes here, about", "to mend"),
    ]
    assert [line.split("  ")[0] for line in found["this machine"]] == [
        *("processor", "memory", "GPU", "disk", "versions"),
    ]
    assert found["this project"] == [
        "dataset  products",
        "images  40 packed",
        "weights  timm:test_vit, random",
        "remote  store, https://host/a%20b",
        "MLflow  mlflow.db, here",
        "results  none yet: dvc repro",
    ]
    network, embed, train = found["a run of params.yaml takes here, about"]
    assert re.fullmatch(r"network  \d+ images a second embedded, \d+ trained, 32 px", network)
    assert embed == "embed  1 s for all models"
    assert re.fullmatch(r"train  \d+ s for 5 epochs at most", train)
    assert found["to mend"] == ["nothing"]


def test_all_that_is_to_be_mended_is_told(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "FREE_DISK", 2**80)
    changes = {"data.name": "folder", "data.source": "nowhere", "backbone.weights": "w.pt"}
    change_params(project, changes)
    assert not examine(project)
    faults = sections(capsys.readouterr().out)["to mend"]
    assert re.fullmatch(r"[\d.]+ GiB of disk are free; make room for images and results", faults[0])
    assert faults[1:] == [
        "data.source: found 'nowhere'; no such file or folder",
        "backbone.weights: found 'w.pt'; no such file",
    ]
    change_params(project, {"train.epochs": 0})
    assert not examine(project)
    assert sections(capsys.readouterr().out)["to mend"][1:] == [
        "params.yaml: train.epochs: found 0; allowed: greater than or equal to 1"
    ]
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("remote = x\n")
    change_params(project, {"train.epochs": 5})
    examine(project)
    assert "unknown: .dvc/config cannot be read (" in capsys.readouterr().out
    (project / "dvc.yaml").unlink()
    assert not examine(project)
    assert sections(capsys.readouterr().out)["to mend"][1:] == [
        f"{project}/dvc.yaml: no such file; run from the root of the project"
    ]


def test_each_training_counts_as_it_is_made(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_time_network", lambda *_: (32, 1.0, 0.1))
    head = {"freeze": "backbone", "augment": {"crop": None}, "epochs": 100}
    variants = {
        "head": {"head": {"name": "linear"}, "train": head},
        "long": {"train": {"epochs": 9}},
    }
    change_params(project, {"models": ["baseline", "finetuned", *variants], "variants": variants})
    examine(project)
    train = sections(capsys.readouterr().out)["a run of params.yaml takes here, about"][2]
    splits = read_table(project / "data/splits.parquet", SPLITS)["split"].to_pylist()
    seconds = splits.count("train") * (5 + 9) / 0.1
    assert train == f"train  {_duration(seconds)} for 5 + 100 + 9 epochs at most"


def test_a_rate_is_of_images_and_leaves_the_first_call_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock of which the first call takes 100 seconds, and each other 2."""
    now, calls = [0.0], []

    def work() -> None:
        calls.append(now[0])
        now[0] += 2.0 if len(calls) > 1 else 100.0

    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(doctor.time, "perf_counter", clock)
    assert _rate(work) == doctor.BATCH / 2
    assert len(calls) == 3


def test_durations_are_in_the_unit_that_is_read_best() -> None:
    assert [_duration(seconds) for seconds in (0.1, 99, 100, 5990, 6000, 90000)] == [
        *("1 s", "99 s", "2 min", "100 min", "2 h", "25 h"),
    ]
