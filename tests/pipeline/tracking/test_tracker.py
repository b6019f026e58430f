"""Tracking by a real MLflow: its SQLite store, its HTTP server, and a server that is down."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.stopping import SECONDS, Stopped
from pipeline.tracking.experiments import TrackedExperiments
from pipeline.tracking.store import connect, find_experiment
from pipeline.tracking.tracker import RunIdentity, Tracker
from tests.helpers.clone import free_port
from tests.helpers.mlflow_server import mlflow_server
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

ROWS: list[dict[str, float]] = [
    {"epoch": 1.0, "loss": 2.0, "val_map": 0.1},
    {"epoch": 2.0, "loss": 1.0, "val_map": 0.4},
]


@pytest.fixture(autouse=True)
def _no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    put_empty_store(tmp_path)


def execution(root: Path, **changes: Any) -> RunIdentity:
    known: dict[str, Any] = {
        "experiment": "test",
        "name": "resnet18 triplet",
        "params": {"seed": 7, "loss.name": "triplet", "loss.triplet.margin": 0.1},
        "dataset": "d1",
        "tags": {"dvc_exp_name": "brave-fox"},
        "about": {"machine.processor": "abacus", "mlflow.user": "ada"},
    }
    return RunIdentity(root=root, **(known | changes))


def track(of: RunIdentity, *, rows: list[dict[str, float]], finish: bool) -> None:
    tracker = Tracker(of)
    tracker.open()
    for row in rows:
        tracker.log_epoch(row)
    if finish:
        tracker.log_metrics({"finetuned/recall_at_1": 0.5})
        tracker.tag("finetuned/intervals_over", "classes")
        tracker.finish()


def runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def history(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(uri).get_metric_history(run.info.run_id, name)
    return [(point.step, point.value) for point in points]


def test_train_and_track_of_one_execution_write_one_run(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    track(execution(tmp_path), rows=ROWS, finish=False)
    track(execution(tmp_path), rows=ROWS, finish=True)
    (run,) = runs(uri)
    assert run.info.run_name == "resnet18 triplet #1 (brave-fox)"
    assert run.info.status == "FINISHED"
    assert run.data.params["loss.triplet.margin"] == "0.1"
    assert run.data.tags["dataset_fingerprint"] == "d1"
    assert run.data.tags["machine.processor"] == "abacus"
    assert run.data.tags["finetuned/intervals_over"] == "classes"
    assert run.data.metrics["finetuned/recall_at_1"] == 0.5
    assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]


@pytest.mark.parametrize("told", [1, 2])
def test_a_killed_training_goes_on_in_its_own_run(told: int, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    rows = [{"epoch": 0.0, "val_map_at_r": 0.3}, *ROWS]
    track(execution(tmp_path), rows=rows[:told], finish=False)
    track(execution(tmp_path), rows=rows, finish=True)
    (run,) = runs(uri)
    assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]
    assert history(uri, run, "val_map_at_r") == [(0, 0.3)]


@pytest.mark.parametrize(
    ("raised", "signaled", "status", "complete"),
    [
        (None, False, "FINISHED", "false"),
        (OSError("the disk is full"), False, "FAILED", "failed"),
        (OSError("a process of the pool was killed too"), True, "KILLED", "false"),
        (Stopped(), True, "KILLED", "false"),
    ],
)
def test_a_run_ends_as_what_it_follows(
    raised: BaseException | None,
    signaled: bool,
    status: str,
    complete: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.tracking.tracker.is_signaled", lambda: signaled)
    tracker = Tracker(execution(tmp_path))

    def follow() -> None:
        with tracker.followed():
            tracker.open()
            if raised is not None:
                raise raised

    with suppress(OSError, Stopped):
        follow()
    (run,) = runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (run.info.status, run.data.tags.get("lookalike.complete")) == (status, complete)


def test_a_complete_run_is_never_written_to_again(tmp_path: Path) -> None:
    for _ in range(2):
        track(execution(tmp_path), rows=ROWS, finish=True)
    assert len(runs(f"sqlite:///{tmp_path / 'mlflow.db'}")) == 2


@pytest.mark.parametrize(
    "changes", [{"params": {"seed": 8}}, {"dataset": "d2"}, {"tags": {"dvc_exp_name": "shy-owl"}}]
)
def test_another_execution_is_another_run(changes: dict[str, Any], tmp_path: Path) -> None:
    track(execution(tmp_path), rows=ROWS, finish=False)
    track(execution(tmp_path, **changes), rows=ROWS, finish=True)
    assert len(runs(f"sqlite:///{tmp_path / 'mlflow.db'}")) == 2


def test_runs_are_numbered_and_the_experiment_is_one_of_training(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.create_experiment("test")  # as an earlier release did
    for seed in range(3):
        track(execution(tmp_path, params={"seed": seed}), rows=ROWS, finish=True)
    names = [run.info.run_name for run in runs(client.tracking_uri)]
    assert names == [f"resnet18 triplet #{number} (brave-fox)" for number in (3, 2, 1)]
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_experiment_is_made_in_a_project_that_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = connect(Path())
    made = find_experiment(client, Path(), "ours")
    assert client.get_experiment(made).artifact_location.startswith(tmp_path.as_uri())
    assert find_experiment(client, Path(), "ours") == made


def test_a_monitor_is_not_begun_once_the_run_has_ended(tmp_path: Path) -> None:
    """Where the server was away until then."""
    tracker = Tracker(execution(tmp_path, watches_system=True))
    tracker.open()
    tracker.finish()
    tracker.watch_system()
    assert not any(each.name == "SystemMetricsMonitor" for each in threading.enumerate())


def test_the_images_of_a_run_are_its_input(tmp_path: Path) -> None:
    tracker = Tracker(execution(tmp_path, dataset="9" * 64))
    tracker.open()
    tracker.log_dataset("folder", source="/photos", counts={"images": 12, "train": 6})
    tracker.finish()
    (run,) = runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("folder", "9" * 36)
    assert json.loads(logged.dataset.source) == {"uri": "/photos"}
    assert json.loads(logged.dataset.profile) == {"images": 12, "train": 6}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_machine_is_watched_while_a_run_lasts_if_that_is_wanted(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = Tracker(execution(tmp_path, watches_system=wanted))
    with tracker.followed():
        tracker.open()
        tracker.watch_system()
        time.sleep(1)
    (run,) = runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = {name for name in run.data.metrics if name.startswith("system/")}
    assert ("system/cpu_utilization_percentage" in found) == wanted
    assert not any(each.name == "SystemMetricsMonitor" for each in threading.enumerate())


def test_the_epochs_of_an_experiment_are_read_by_its_name_while_it_runs(tmp_path: Path) -> None:
    tracked = TrackedExperiments(tmp_path, "test")
    assert tracked.epochs("brave-fox", "val_map") == {}  # not even a database
    track(execution(tmp_path), rows=ROWS[:1], finish=True)
    track(execution(tmp_path), rows=ROWS, finish=False)
    track(execution(tmp_path, tags={"dvc_exp_name": "shy-owl"}), rows=ROWS[:1], finish=False)
    assert tracked.epochs("brave-fox", "val_map") == {1: 0.1, 2: 0.4}  # of the latest run
    assert tracked.epochs("brave-fox", "val_mrr") == {}
    assert tracked.epochs("keen-elk", "val_map") == {}


def test_a_killed_experiments_run_is_ended_and_not_taken_up_again(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    track(execution(tmp_path), rows=ROWS, finish=True)
    track(execution(tmp_path), rows=ROWS, finish=False)
    TrackedExperiments(tmp_path, "test").end("brave-fox")
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "KILLED"]
    track(execution(tmp_path), rows=ROWS, finish=True)
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "FINISHED", "KILLED"]


def test_the_runs_of_a_sweep_are_below_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracked = TrackedExperiments(tmp_path, "test")
    tracked.put_under("sweep", ["brave-fox"])  # nothing was tracked
    names = ("brave-fox", "shy-owl", "keen-elk")
    for name in names:
        track(execution(tmp_path, tags={"dvc_exp_name": name}), rows=ROWS, finish=True)
    for _ in range(2):  # a sweep that is continued
        tracked.put_under("sweep", names[:2])
    found = {run.data.tags.get("dvc_exp_name", "parent"): run for run in runs(uri)}
    assert found["parent"].info.run_name == "sweep"
    assert len(runs(uri)) == 4
    under = {name: found[name].data.tags.get("mlflow.parentRunId") for name in names}
    parent = found["parent"].info.run_id
    assert under == {"brave-fox": parent, "shy-owl": parent, "keen-elk": None}
    track(execution(tmp_path, params={"seed": 9}), rows=ROWS, finish=True)
    assert runs(uri)[0].info.run_name == "resnet18 triplet #4 (brave-fox)"


def test_following_without_a_server_warns_once_and_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    tracked = TrackedExperiments(tmp_path, "test")
    assert tracked.epochs("brave-fox", "val_map") == {}
    assert tracked.epochs("brave-fox", "val_map") == {}
    tracked.end("brave-fox")
    messages = caplog.messages
    assert len(messages) == 1
    assert messages[0].startswith(
        "warning: epochs are not read from MLflow, so nothing is ended early until they are: "
    )


def test_a_failure_while_following_is_warned_of_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    track(execution(tmp_path), rows=ROWS, finish=False)
    tracked = TrackedExperiments(tmp_path, "test")
    with monkeypatch.context() as broken:
        broken.setattr(TrackedExperiments, "_runs", lambda *_: 1 / 0)
        for _ in range(2):
            assert tracked.epochs("brave-fox", "val_map") == {}
    assert tracked.epochs("brave-fox", "val_map") == {1: 0.1, 2: 0.4}
    assert len(caplog.messages) == 1


def test_images_lie_under_the_project_whatever_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(b"image")
    tracker = Tracker(execution(tmp_path))
    tracker.open()
    tracker.log_artifacts([tmp_path / "sheet.png"], "plots")
    found = list((tmp_path / "mlruns").rglob("plots/sheet.png"))
    assert [path.read_bytes() for path in found] == [b"image"]


def test_a_server_that_is_down_costs_a_warning_and_at_the_end_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("pipeline.tracking.tracker.PATIENCE_SECONDS", 1.0)
    track(execution(tmp_path), rows=ROWS * 50, finish=True)
    warned, ended = caplog.messages
    assert warned.startswith(
        "warning: MLflow does not answer, and is told later what happens: API request to http://"
    )
    assert ended == (
        "warning: MLflow did not answer for 1 s: nothing is tracked; run again: "
        "dvc repro -f -s track (of an experiment, after dvc exp apply)"
    )


def test_what_mlflow_refuses_ends_the_tracking_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = {"x" * 300: 1}  # a name that is too long
    track(execution(tmp_path, params=params), rows=ROWS, finish=True)
    assert caplog.messages == [
        "warning: this run is not tracked in MLflow: "
        "'Param key' exceeds the maximum length of 250 characters"
    ]


def test_a_database_that_is_damaged_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("DROP TABLE metrics")
    track(execution(tmp_path), rows=ROWS, finish=True)
    (own,) = [each for each in caplog.messages if each.startswith("warning: ")]
    assert own.startswith("warning: this run is not tracked in MLflow: ")


STOPPED = """
import time
from pathlib import Path
from pipeline.data.files import written_whole
from pipeline.entry import run_entry
from pipeline.tracking.tracker import Tracker

def tell():
    tracker = Tracker(None)
    tracker._waiting.extend([lambda: time.sleep(0.2)] * 100)
    with written_whole(Path("made/a.txt")) as (unfinished,):
        unfinished.write_text("half")
        print("begun", flush=True)
        tracker._send_waiting()

run_entry(tell)
"""


@pytest.mark.slow
def test_a_stop_while_much_is_told_comes_between_two_calls(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STOPPED)
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=variables, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < SECONDS  # else it is ended by force, and leaves files
    assert list((tmp_path / "made").iterdir()) == []


def test_what_a_server_that_is_away_did_not_take_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(execution(tmp_path))
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        tracker.open()
        tracker.log_epoch(ROWS[0])
    tracker.log_epoch(ROWS[1])  # perhaps too early to try again
    tracker.log_metrics({"finetuned/recall_at_1": 0.5})
    tracker.finish()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (run,) = runs(uri)
    assert (run.info.status, run.data.metrics["finetuned/recall_at_1"]) == ("FINISHED", 0.5)
    assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]
    assert len(caplog.messages) == 1


def test_a_run_that_was_begun_just_before_a_kill_gets_its_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Tracker, "_log_params", lambda _: 1 / 0)
        Tracker(execution(tmp_path)).open()
    track(execution(tmp_path), rows=ROWS, finish=True)
    (run,) = runs(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert run.data.params["loss.triplet.margin"] == "0.1"


@pytest.fixture
def folder_of_server(tmp_path: Path) -> Path:
    """Return the folder of a server, whose tables exist."""
    folder = tmp_path / "server"
    folder.mkdir()
    put_empty_store(folder)
    return folder


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_has_all_of_the_run_once(
    folder_of_server: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (tmp_path / "sheet.png").write_bytes(b"image")
    tracker = Tracker(execution(tmp_path))
    with mlflow_server(folder_of_server, port):
        tracker.open()
        tracker.log_epoch(ROWS[0])
    tracker.log_epoch(ROWS[1])
    tracker.log_artifacts([tmp_path / "sheet.png"], "plots")
    with mlflow_server(folder_of_server, port):
        tracker.finish()
        (run,) = runs(uri)
        assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]
        assert run.info.status == "FINISHED"
    assert [f.read_bytes() for f in folder_of_server.rglob("plots/sheet.png")] == [b"image"]
    assert len(caplog.messages) == 1


@pytest.mark.slow
def test_a_server_named_by_the_environment_gets_the_run(
    folder_of_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").unlink()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with mlflow_server(folder_of_server, port):
        track(execution(tmp_path), rows=ROWS, finish=True)
        (run,) = runs(uri)
        assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]
    assert not (tmp_path / "mlflow.db").exists()
