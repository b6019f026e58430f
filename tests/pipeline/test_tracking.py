"""Tracking against a real MLflow: its SQLite store, its HTTP server, and a server that is down."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.stopping import Stopped
from pipeline.tracking import RunIdentity, TrackedEpochs, Tracker
from tests.helpers.clone import free_port, running, wait_until
from tests.helpers.mlflow_store import put_empty_store

ROWS = [{"epoch": 1.0, "loss": 2.0, "val_map": 0.1}, {"epoch": 2.0, "loss": 1.0, "val_map": 0.4}]


@pytest.fixture(autouse=True)
def _no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    put_empty_store(tmp_path)


def execution(root: Path, **changes: Any) -> RunIdentity:
    known: dict[str, Any] = {
        "experiment": "test",
        "params": {"seed": 7, "loss": {"name": "triplet", "triplet": {"margin": 0.1}}},
        "dataset": "d1",
        "tags": {"dvc_exp_name": "brave-fox"},
        "machine": {"processor": "abacus"},
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
    assert run.info.run_name == "brave-fox"
    assert run.info.status == "FINISHED"
    assert run.data.params["loss.triplet.margin"] == "0.1"
    assert run.data.tags["dataset_fingerprint"] == "d1"
    assert run.data.tags["machine.processor"] == "abacus"
    assert run.data.tags["finetuned/intervals_over"] == "classes"
    assert run.data.metrics["finetuned/recall_at_1"] == 0.5
    assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_killed_training_goes_on_in_its_own_run(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    track(execution(tmp_path), rows=ROWS[:1], finish=False)
    track(execution(tmp_path), rows=ROWS, finish=True)
    (run,) = runs(uri)
    assert history(uri, run, "loss") == [(1, 2.0), (2, 1.0)]


@pytest.mark.parametrize(
    ("raised", "status", "complete"),
    [
        (None, "FINISHED", "false"),
        (OSError("the disk is full"), "FAILED", "failed"),
        (Stopped(), "KILLED", "false"),
    ],
)
def test_a_run_ends_as_what_it_follows(
    raised: BaseException | None, status: str, complete: str, tmp_path: Path
) -> None:
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


def test_the_epochs_of_an_experiment_are_read_by_its_name_while_it_runs(tmp_path: Path) -> None:
    tracked = TrackedEpochs(tmp_path, "test")
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
    TrackedEpochs(tmp_path, "test").end("brave-fox")
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "KILLED"]
    track(execution(tmp_path), rows=ROWS, finish=True)
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "FINISHED", "KILLED"]


def test_following_without_a_server_warns_once_and_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    tracked = TrackedEpochs(tmp_path, "test")
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
    tracked = TrackedEpochs(tmp_path, "test")
    with monkeypatch.context() as broken:
        broken.setattr(TrackedEpochs, "_runs", lambda *_: 1 / 0)
        for _ in range(2):
            assert tracked.epochs("brave-fox", "val_map") == {}
    assert tracked.epochs("brave-fox", "val_map") == {1: 0.1, 2: 0.4}
    assert len(caplog.messages) == 1


def test_images_lie_under_the_project_whatever_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(b"image")
    tracker = Tracker(execution(tmp_path))
    tracker.open()
    tracker.log_artifacts([tmp_path / "sheet.png"])
    found = list((tmp_path / "mlruns").rglob("plots/sheet.png"))
    assert [path.read_bytes() for path in found] == [b"image"]


def test_a_server_that_is_down_costs_one_warning_and_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    track(execution(tmp_path), rows=ROWS, finish=True)
    messages = caplog.messages
    assert len(messages) == 1
    assert messages[0].startswith("warning: this run is not tracked in MLflow: ")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 's.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    uri = f"http://127.0.0.1:{port}"
    with running(folder, *command):
        wait_until(lambda: _answers(f"{uri}/health"))
        yield uri


@pytest.mark.slow
def test_a_server_named_by_the_environment_gets_the_run(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    track(execution(tmp_path), rows=ROWS, finish=True)
    (run,) = runs(server)
    assert history(server, run, "loss") == [(1, 2.0), (2, 1.0)]
    assert not (tmp_path / "mlflow.db").exists()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):  # noqa: S310 - of our own server
            return True
    except OSError:
        return False
