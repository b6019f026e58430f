"""MLflow: one pipeline execution is one run. Tracking that fails costs a warning, nothing else."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.dotted_keys import flatten

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Set before mlflow is imported; a person's own values win. MLflow would else try for minutes.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
COMPLETE = "lookalike.complete"


@dataclass(frozen=True)
class RunIdentity:
    """What makes two stages part of one run: the same params on the same data.

    root: where the default database lies, the project's root also in a temporary experiment.
    params: the whole of params.yaml. dataset: fingerprint of the catalog. tags: further tags.
    """

    root: Path
    experiment: str
    params: Mapping[str, Any]
    dataset: str
    tags: Mapping[str, str]

    @property
    def key(self) -> str:
        """Identify the run: equal for the stages of one execution."""
        told = json.dumps([self.params, self.dataset, dict(self.tags)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


class _Cautious:
    """Acts on MLflow; of the first failure it warns, and of no other."""

    loss: str  # what a failure costs
    gives_up = True  # after the first failure
    _failed = False

    def _try(self, act: Callable[[], T]) -> T | None:
        if self._failed and self.gives_up:
            return None
        try:
            return act()
        except Exception as error:  # whatever tracking throws, training is worth more
            if not self._failed:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                logger.warning("warning: %s: %s", self.loss, reason)
            self._failed = True
            return None


class Tracker(_Cautious):
    """Writes to one MLflow run; after the first failure it says so once and does nothing more."""

    loss = "this run is not tracked in MLflow"

    def __init__(self, execution: RunIdentity) -> None:
        self._execution = execution
        self._client: Any = None
        self._run_id: str | None = None
        self._logged_epochs = 0

    def open(self) -> None:
        """Take up the unfinished run of this execution, or begin one."""
        self._try(self._open)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log a row's figures at the step `epoch`, unless they were logged there before."""
        step = int(row["epoch"])
        if step > self._logged_epochs:
            figures = {name: value for name, value in row.items() if name != "epoch"}
            self._try(lambda: self._log(figures, step=step))

    def log_metrics(self, figures: Mapping[str, float]) -> None:
        """Log single figures."""
        self._try(lambda: self._log(figures, step=0))

    def log_artifacts(self, paths: list[Path]) -> None:
        """Log files as artifacts, under `plots`."""
        for path in paths:
            self._try(partial(self._log_artifact, path))

    def finish(self) -> None:
        """Mark the run complete; a later execution of the same kind begins another."""
        self._try(lambda: self._client.set_tag(self._run_id, COMPLETE, "true"))
        self._try(lambda: self._client.set_terminated(self._run_id))

    def fail(self) -> None:
        """Mark the run failed, if one was begun; the next execution begins another."""
        if self._run_id:
            self._try(lambda: self._client.set_tag(self._run_id, COMPLETE, "failed"))
            self._try(lambda: self._client.set_terminated(self._run_id, "FAILED"))

    def _open(self) -> None:
        with _database_lock(self._execution.root):
            self._client = _connect(self._execution.root)
            experiment = _experiment(self._client, self._execution)
        self._run_id = self._unfinished(experiment) or self._begin(experiment)
        losses = self._client.get_metric_history(self._run_id, "loss")
        self._logged_epochs = max((metric.step for metric in losses), default=0)

    def _unfinished(self, experiment: str) -> str | None:
        found = self._client.search_runs(
            [experiment],
            f"tags.`lookalike.key` = '{self._execution.key}' and tags.`{COMPLETE}` = 'false'",
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _begin(self, experiment: str) -> str:
        from mlflow.entities import Param

        name = self._execution.tags.get("dvc_exp_name") or None
        tags = {
            "lookalike.key": self._execution.key,
            "dataset_fingerprint": self._execution.dataset,
            COMPLETE: "false",
            **self._execution.tags,
        }
        run_id: str = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        params = [Param(k, str(v)[:6000]) for k, v in flatten(self._execution.params).items()]
        for start in range(0, len(params), 100):  # MLflow takes 100 at a time
            self._client.log_batch(run_id, params=params[start : start + 100])
        return run_id

    def _log(self, figures: Mapping[str, float], *, step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _log_artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path), "plots")


class TrackedEpochs(_Cautious):
    """Follows runs by the name of their DVC experiment, from outside of them.

    After the first failure it says so once. It tries again each time: a search takes days, and a
    server that is down is up again.
    """

    loss = "epochs are not read from MLflow, so nothing is ended early until they are"
    gives_up = False

    def __init__(self, root: Path, experiment: str) -> None:
        """root, experiment: as of an Execution."""
        self._root = root
        self._experiment = experiment
        self._client: Any = None

    def epochs(self, name: str, metric: str) -> dict[int, float]:
        """Return epoch -> value of a metric in the latest run of the experiment `name`, so far."""
        return self._try(lambda: self._epochs(name, metric)) or {}

    def end(self, name: str) -> None:
        """Mark the unfinished runs of an experiment that was killed, so that none is taken up."""
        self._try(lambda: self._end(name))

    def _epochs(self, name: str, metric: str) -> dict[int, float]:
        return {
            point.step: point.value
            for run in self._runs(name)[:1]
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
        # The latest first, as MLflow sorts them.
        query = f"tags.dvc_exp_name = '{name}'"
        return list(self._client.search_runs([experiment.experiment_id], query))


def _connect(root: Path) -> Any:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It tells of each attempt that fails; of the last one, we do.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=_server() or f"sqlite:///{root / 'mlflow.db'}")


def _server() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def _experiment(client: Any, execution: RunIdentity) -> str:
    found = client.get_experiment_by_name(execution.experiment)
    if found:
        known: str = found.experiment_id
        return known
    # MLflow would put the artifacts of a local database below whatever the current folder is.
    place = None if _server() else (execution.root / "mlruns").as_uri()
    created: str = client.create_experiment(execution.experiment, artifact_location=place)
    return created


@contextmanager
def _database_lock(root: Path) -> Iterator[None]:
    # Two first runs at once would both create the tables of a new SQLite file.
    from filelock import FileLock

    with FileLock(root / "mlflow.db.lock", timeout=60):
        yield
