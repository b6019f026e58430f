"""MLflow: one pipeline execution is one run. A failure of tracking is a warning, no error.

A server may be away for a while, because it is restarted or the network fails. What it is to be
told waits meanwhile, in order, and nothing else does.
"""

import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.dotted_keys import flatten
from pipeline.errors import one_line
from pipeline.stopping import ended_first, is_signaled

logger = logging.getLogger(__name__)

# How long the end of an execution waits for a server that is away: it may be restarted.
PATIENCE_SECONDS = 90.0
# A server that is away costs a training a tenth of its time at most.
PAUSE_FACTOR = 10
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
LATER = "run again: dvc repro -f -s track (of an experiment, after dvc exp apply)"
# Set before mlflow is imported, unless the user set them. By default MLflow retries for minutes,
# and what is tried again here is more than a request: it cannot make a run twice.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
VARIANT = "variant"  # tag of a run that is of the training of a variant alone
COMPLETE = "lookalike.complete"


@dataclass(frozen=True)
class RunIdentity:
    """What makes two stages part of one run: the same params on the same data.

    root: the folder of the default database; the project's root, in a temporary experiment too.
    params: the whole of params.yaml. dataset: fingerprint of the catalog. tags: further tags.
    machine: what computes it; logged, but a run may go on on another machine.
    """

    root: Path
    experiment: str
    params: Mapping[str, Any]
    dataset: str
    tags: Mapping[str, str]
    machine: Mapping[str, str]

    @property
    def key(self) -> str:
        """A digest that is equal for the stages of one execution."""
        identity = json.dumps([self.params, self.dataset, dict(self.tags)], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Tracker:
    """Writes to one MLflow run, and never raises.

    What a server that is away does not take waits until it is back, or until `finish` has waited
    for `PATIENCE_SECONDS`. What MLflow refuses ends the tracking. Each is a warning, once.
    """

    def __init__(self, identity: RunIdentity) -> None:
        self._identity = identity
        self._client: Any = None
        self._run_id: str | None = None
        self._logged_epochs = -1  # epoch 0 is the model before training
        self._waiting: deque[Callable[[], object]] = deque()
        self._next_try = 0.0
        self._warned = self._refused = False

    def open(self) -> None:
        """Continue the unfinished run of this execution, or begin one."""
        self._send(self._open)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log the metrics of an epoch at the step `epoch`, unless that step was logged before."""
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        self._send(partial(self._log, metrics, int(row["epoch"]), _now(), once=True))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics that have no epoch."""
        self._send(partial(self._log, metrics, 0, _now()))

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self._send(lambda: self._client.set_tag(self._run_id, name, value))

    def log_artifacts(self, paths: list[Path]) -> None:
        """Log files as artifacts, under `plots`."""
        for path in paths:
            self._send(partial(self._log_artifact, path))

    def pause(self, status: str = "FINISHED") -> None:
        """End the run for now: another stage continues it, unless DVC finds nothing left to do.

        status: as MLflow names it, or KILLED for a training that is to be continued.
        """
        if self._run_id:
            self._next_try = 0
            self._send(lambda: self._client.set_terminated(self._run_id, status))

    def finish(self) -> None:
        """Mark the run complete; the next execution with this identity begins another.

        It waits for a server that is away, as nothing else will tell it.
        """
        self._end("true", "FINISHED")
        until = time.monotonic() + PATIENCE_SECONDS
        while self._waiting and time.monotonic() < until:
            time.sleep(PATIENCE_SECONDS / 100)
            self._send_waiting()
        if self._waiting:
            seconds = f"for {PATIENCE_SECONDS:.0f} s"
            logger.warning(
                "warning: MLflow did not answer %s: nothing is tracked; %s", seconds, LATER
            )

    def fail(self) -> None:
        """Mark the run failed, if one was begun; the next execution begins another."""
        if self._run_id:
            self._end("failed", "FAILED")

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Pause the run at the end of the block, which is what it tracks.

        An exception makes it failed; Ctrl-C or SIGTERM KILLED, and the next execution continues it.
        """
        try:
            yield
        except BaseException as error:
            # After a signal, the error may be that of a process that was killed with this one.
            if isinstance(error, Exception) and not is_signaled():
                self.fail()
            else:
                self.pause("KILLED")
            raise
        self.pause()

    def _end(self, complete: str, status: str) -> None:
        def end() -> None:
            self._client.set_tag(self._run_id, COMPLETE, complete)
            self._client.set_terminated(self._run_id, status)

        self._next_try = 0
        self._send(end)

    def _send(self, act: Callable[[], object]) -> None:
        """Do `act` after all that waits, or let it wait too."""
        if self._refused:
            return
        self._waiting.append(act)
        if time.monotonic() >= self._next_try:
            self._send_waiting()

    def _send_waiting(self) -> None:
        began = time.monotonic()
        try:
            while self._waiting:
                began = time.monotonic()
                with ended_first():  # a signal must not come between an act and its removal
                    self._waiting[0]()
                    self._waiting.popleft()
        except Exception as error:  # no failure of tracking may end a training
            self._keep_waiting(error, seconds=time.monotonic() - began)

    def _keep_waiting(self, error: Exception, *, seconds: float) -> None:
        """Warn of an error, and try again later, unless MLflow refused: then give up."""
        self._next_try = time.monotonic() + seconds * PAUSE_FACTOR
        if not _is_away(error):
            self._refused = True
            self._waiting.clear()
            logger.warning("warning: this run is not tracked in MLflow: %s", one_line(error))
        elif not self._warned:
            self._warned = True
            logger.warning(
                "warning: MLflow does not answer, and is told later what happens: %s",
                one_line(error),
            )

    def _open(self) -> None:
        with _database_lock(self._identity.root):
            self._client = _connect(self._identity.root)
            experiment = _experiment(self._client, self._identity)
        self._run_id = self._unfinished(experiment)
        if self._run_id:
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            self._run_id = self._begin(experiment)
        self._log_params()
        # Epoch 0, before training, has no loss.
        of_epochs = [
            metric.step
            for name in ("loss", "val_map_at_r")
            for metric in self._client.get_metric_history(self._run_id, name)
        ]
        self._logged_epochs = max(of_epochs, default=-1)

    def _unfinished(self, experiment: str) -> str | None:
        found = self._client.search_runs(
            [experiment],
            f"tags.`lookalike.key` = '{self._identity.key}' and tags.`{COMPLETE}` = 'false'",
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _begin(self, experiment: str) -> str:
        name = self._identity.tags.get("dvc_exp_name") or None
        tags = {
            "lookalike.key": self._identity.key,
            "dataset_fingerprint": self._identity.dataset,
            COMPLETE: "false",
            **self._identity.tags,
            **{f"machine.{name}": text for name, text in self._identity.machine.items()},
        }
        run_id: str = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        return run_id

    def _log_params(self) -> None:
        """Log the params, of a run that goes on too: it may have been begun just before a kill."""
        from mlflow.entities import Param

        params = [Param(k, str(v)[:6000]) for k, v in flatten(self._identity.params).items()]
        for start in range(0, len(params), 100):  # MLflow takes 100 at a time
            self._client.log_batch(self._run_id, params=params[start : start + 100])

    def _log(self, metrics: Mapping[str, float], step: int, now: int, once: bool = False) -> None:
        """Log metrics at a step. once: unless the step was logged before this process began.

        now: when they were measured. The same values of the same time are one, if told twice.
        """
        from mlflow.entities import Metric

        if once and step <= self._logged_epochs:
            return
        logged = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, metrics=logged)

    def _log_artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path), "plots")


class TrackedEpochs:
    """Reads the epochs of running experiments, by the names that they have in DVC.

    It never raises. It warns once, at the first failure, and tries again each time: a search takes
    days, in which a server may be down and come back.
    """

    def __init__(self, root: Path, experiment: str) -> None:
        """root, experiment: as in `RunIdentity`."""
        self._root = root
        self._experiment = experiment
        self._client: Any = None
        self._warned = False

    def epochs(self, name: str, metric: str) -> dict[int, float]:
        """Return epoch -> value of a metric so far, in the latest run of the experiment `name`."""
        with self._warned_of():
            return self._epochs(name, metric)
        return {}

    def end(self, name: str) -> None:
        """Mark the unfinished runs of a killed experiment, so that none is continued."""
        with self._warned_of():
            self._end(name)

    @contextmanager
    def _warned_of(self) -> Iterator[None]:
        try:
            with ended_first():
                yield
        except Exception as error:  # no failure of tracking may end a search
            if not self._warned:
                consequence = (
                    "epochs are not read from MLflow, so nothing is ended early until they are"
                )
                logger.warning("warning: %s: %s", consequence, one_line(error))
            self._warned = True

    def _epochs(self, name: str, metric: str) -> dict[int, float]:
        runs = [run for run in self._runs(name) if VARIANT not in run.data.tags]
        return {
            point.step: point.value
            for run in runs[:1]
            for point in self._client.get_metric_history(run.info.run_id, metric)
        }

    def _end(self, name: str) -> None:
        for run in self._runs(name):
            if run.data.tags.get(COMPLETE) == "false":
                self._client.set_tag(run.info.run_id, COMPLETE, "killed")
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _runs(self, name: str) -> list[Any]:
        if not self._client:
            with _database_lock(self._root):
                self._client = _connect(self._root)
        experiment = self._client.get_experiment_by_name(self._experiment)
        if not experiment:
            return []
        # MLflow returns the latest first.
        query = f"tags.dvc_exp_name = '{name}'"
        return list(self._client.search_runs([experiment.experiment_id], query))


def _now() -> int:
    return int(time.time() * 1000)


def _is_away(error: Exception) -> bool:
    """Whether MLflow may take the same another time: it is not reached, or busy, or failed.

    Of the local database, only a lock passes by itself.
    """
    if not (_server() or "").startswith("http"):
        return isinstance(error, TimeoutError) or "database is locked" in str(error)
    status = getattr(error, "get_http_status_code", None)  # of an MlflowException
    if status is None and getattr(error, "response", None) is None:  # requests, filelock
        return isinstance(error, OSError) and error.errno is None
    found = status() if status else error.response.status_code  # type: ignore[attr-defined]
    return bool(found >= SERVER_ERROR or found == TOO_MANY_REQUESTS)


def _connect(root: Path) -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for library in ("alembic", "mlflow"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # It logs each failed attempt; the last one is logged here.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=_server() or f"sqlite:///{root / 'mlflow.db'}")


def _server() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def _experiment(client: Any, identity: RunIdentity) -> str:
    found = client.get_experiment_by_name(identity.experiment)
    if found:
        known: str = found.experiment_id
        return known
    # By default MLflow puts the artifacts of a local database below the current folder.
    place = None if _server() else (identity.root / "mlruns").as_uri()
    created: str = client.create_experiment(identity.experiment, artifact_location=place)
    return created


@contextmanager
def _database_lock(root: Path) -> Iterator[None]:
    # Two first runs at the same time would both create the tables of a new SQLite file.
    from filelock import FileLock

    with FileLock(root / "mlflow.db.lock", timeout=60):
        yield
