"""`torchrun` as params.yaml starts it: a process that fails is one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from pipeline.data.tables import TRIPLETS, write_table
from tests.helpers.clone import change_params, wait_until
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, run_module
from tests.helpers.searchable import build

pytestmark = pytest.mark.slow

# What the second process does; the first waits for it.
PROGRAM = """
import errno, os, signal, sys, time
from pipeline.entry import run_entry
from pipeline.errors import UserError

def fail():
    if os.environ["RANK"] == "0":
        time.sleep(60)
    if sys.argv[1] == "mistake":
        raise UserError("a.csv: empty")
    if sys.argv[1] == "full":
        raise OSError(errno.ENOSPC, "no", "models/a")
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(60)

run_entry(fail)
"""
KILLED = (
    "train: process 1 of the training was ended by SIGKILL, most often because memory ran out; "
    "free some, lower train.workers, train.chunk_size or the number of processes, and run it "
    "again\n"
)
TWO = ("--nproc-per-node", "2")


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("SIGKILL", 1, KILLED),
        ("mistake", 2, "train: a.csv: empty\n"),
        pytest.param(
            *("full", 1, "train: models/a: no space left on device; free some\n"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *("SIGTERM", 143, "train: process 1 of the training ended with status 143\n"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_first_failure_is_one_line(what: str, status: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = run_module(tmp_path, "stages.torchrun", *TWO, "program.py", what)
    assert (ran.returncode, ran.stderr) == (status, said)


WAITING = """
import os, time
from pathlib import Path
from pipeline.entry import run_entry

def wait():
    Path(os.environ["RANK"]).touch()
    time.sleep(600)

run_entry(wait)
"""


def test_no_process_outlives_the_launcher(tmp_path: Path) -> None:
    """It would train on, beside the next training."""
    (tmp_path / "program.py").write_text(WAITING)
    command = [sys.executable, "-m", "stages.torchrun", *TWO, "program.py"]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=variables) as started:
        wait_until(lambda: all((tmp_path / rank).exists() for rank in "01"))
        children = psutil.Process(started.pid).children()
        assert len(children) == 2
        started.kill()
    assert psutil.wait_procs(children, timeout=30)[1] == []


OPTIONS = {
    "baseline": "models/baseline",
    "embeddings": "embeddings/baseline",
    "images": "data/images",
    "catalog": "data/catalog.parquet",
    "splits": "data/splits.parquet",
    "triplets": "data/triplets.parquet",
    "checkpoints": "checkpoints",
    "out": "models/trained",
    "metrics": "metrics/train.json",
    "headline": "headline/train.json",
    "history": "plots/history.csv",
}
TRAIN = ["stages.train", *(word for key, path in OPTIONS.items() for word in (f"--{key}", path))]
PARAMS: dict[str, Any] = {
    "split.val_fraction": 0.5,
    "split.val_by": "image",
    "head.name": "linear",
    "loss.name": "contrastive",
    "batches.pk": {"classes": 2, "per_class": 2},
    "train.epochs": 2,
    "train.head_epochs": 1,
    "train.patience": None,
    "train.workers": 0,
    "train.precision": "fp32",
}


@pytest.mark.long
def test_two_processes_train_as_one_and_end_in_one_line(tmp_path: Path) -> None:
    project = build(tmp_path / "one", **PARAMS)
    write_table(
        pa.schema(TRIPLETS.columns).empty_table(), project / "data/triplets.parquet", TRIPLETS
    )
    shutil.copytree(project, tmp_path / "two")
    assert run_module(project, *TRAIN).returncode == 0
    ran = run_module(tmp_path / "two", "stages.torchrun", *TWO, "-m", *TRAIN)
    assert ran.returncode == 0, ran.stderr
    one, two = (
        json.loads((tmp_path / name / "metrics/train.json").read_text()) for name in ("one", "two")
    )
    numbers = [name for name, value in one.items() if isinstance(value, float)]
    assert np.allclose([one[n] for n in numbers], [two[n] for n in numbers], atol=1e-4)

    change_params(tmp_path / "two", {"train.epochs": 1000})
    command = [sys.executable, "-m", "stages.torchrun", *TWO, "-m", *TRAIN]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path / "two", env=variables, stderr=subprocess.PIPE, text=True
    ) as started:
        wait_until(lambda: any((tmp_path / "two/checkpoints").glob("*.pt")))
        children = psutil.Process(started.pid).children()
        second = next(each for each in children if each.environ().get("RANK") == "1")
        second.kill()
        assert started.stderr is not None
        lines = started.stderr.read().splitlines(keepends=True)
    assert started.returncode == 1
    assert lines[-1] == KILLED
    assert all(line.startswith("train: epoch ") for line in lines[:-1])
