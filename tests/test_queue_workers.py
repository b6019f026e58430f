"""Four experiments of the queue at a time, and MLflow: its SQLite file, a restarted server."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.clone import (
    change_params,
    dvc,
    free_port,
    runs,
    skip_drawing,
    wait_until,
)
from tests.helpers.mlflow_server import mlflow_server
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.processes import environment

pytestmark = pytest.mark.long

# By test, as DVC does not train again what was trained before.
SEEDS = {"file": (11, 12, 13, 14), "server": (21, 22, 23, 24)}
AWAY_SECONDS = 20
EPOCHS = 12


@pytest.fixture(scope="module")
def long_trainings(clone: Path) -> Path:
    """Return the clone with longer trainings, whose figures are not drawn."""
    change_params(clone, {"train.epochs": EPOCHS})
    skip_drawing(clone)
    return clone


@pytest.fixture
def ready(long_trainings: Path) -> Path:
    """Return the clone without any run in MLflow."""
    shutil.rmtree(long_trainings / "mlruns", ignore_errors=True)
    put_empty_store(long_trainings)
    return long_trainings


def start_four(place: Path, prefix: str, **variables: str) -> list[str]:
    """Queue four experiments, start four workers, and return the experiments' names."""
    names = [f"{prefix}{seed}" for seed in SEEDS[prefix]]
    for name, seed in zip(names, SEEDS[prefix], strict=True):
        queued = dvc(place, "exp", "run", "--queue", "--name", name, "-S", f"train.seed={seed}")
        assert queued.returncode == 0, queued.stderr
    # Not by pipes, which the workers would keep open.
    subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "4"],
        cwd=place,
        env=environment() | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return names


def wait_for(place: Path, names: list[str]) -> dict[str, str]:
    """Return experiment -> its state, when none is queued or running any more."""

    def read_states() -> dict[str, str]:
        rows = [line.split() for line in dvc(place, "queue", "status").stdout.splitlines()]
        return {name: row[-1] for row in rows for name in names if name in row}

    def is_over() -> bool:
        time.sleep(2)
        return set(read_states().values()) <= {"Success", "Failed"}

    wait_until(is_over, seconds=900)
    return read_states()


def check_runs(
    found: list[Any], names: list[str], history: Callable[[str, str], list[Any]]
) -> None:
    """Check that each experiment has one run, with all of its epochs and metrics."""
    of_queue = [run for run in found if run.data.tags.get("dvc_exp_name") in names]
    assert sorted(run.data.tags["dvc_exp_name"] for run in of_queue) == sorted(names)
    for run in of_queue:
        assert (run.info.status, run.data.tags["lookalike.complete"]) == ("FINISHED", "true")
        assert {"baseline/map", "finetuned/map", "train/val_map"} <= run.data.metrics.keys()
        assert run.data.params["train.epochs"] == str(EPOCHS)
        steps = [point.step for point in history(run.info.run_id, "loss")]
        assert steps == list(range(1, EPOCHS + 1))


def test_four_at_a_time_share_the_sqlite_file(ready: Path) -> None:
    from mlflow import MlflowClient

    names = start_four(ready, "file")
    assert wait_for(ready, names) == dict.fromkeys(names, "Success")
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    check_runs(runs(ready), names, client.get_metric_history)


def test_a_server_that_is_killed_and_restarted_has_all_of_the_four(
    ready: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    put_empty_store(tmp_path)
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with mlflow_server(tmp_path, port):
        names = start_four(ready, "server", MLFLOW_TRACKING_URI=uri)
        wait_until(lambda: any(ready.glob(".dvc/tmp/exps/tmp*/checkpoints/*.pt")))
    time.sleep(AWAY_SECONDS)
    with mlflow_server(tmp_path, port):
        assert wait_for(ready, names) == dict.fromkeys(names, "Success")
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("lookalike")
        assert experiment is not None
        found = list(client.search_runs([experiment.experiment_id]))
        check_runs(found, names, client.get_metric_history)
