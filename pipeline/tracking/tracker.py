"""MLflow: one pipeline execution is one run. A failure of tracking is a warning, no error.

A server may be away for a while, because it is restarted or the network fails. What it is to be
told waits meanwhile, in order, and nothing else does.
"""

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import one_line
from pipeline.stopping import ended_first, is_signaled
from pipeline.tracking.store import connect, database_lock, find_experiment, find_uri, is_away

logger = logging.getLogger(__name__)

# How long the end of an execution waits for a server that is away: it may be restarted.
PATIENCE_SECONDS = 90.0
# A server that is away costs a training a tenth of its time at most.
PAUSE_FACTOR = 10
LATER = "run again: dvc repro -f -s track (of an experiment, after dvc exp apply)"
VARIANT = "variant"  # tag of a run that is of the training of a variant alone
COMPLETE = "lookalike.complete"
MODEL_DIGEST = "lookalike.model_digest"  # of the trained model
NUMBER = "lookalike.number"  # of the run among those of its experiment
NOTE = "mlflow.note.content"  # what MLflow shows as the description


@dataclass(frozen=True)
class RunIdentity:
    """What makes two stages part of one run: the same params on the same data.

    root: the folder of the default database; the project's root, in a temporary experiment too.
    name: what people call it; a number is added. params: dotted key -> value. dataset: fingerprint
    of the catalog. tags: further tags. about: tags that do not identify it, such as the machine's,
    as a run may go on on another one. watches_system: whether `watch_system` does anything.
    """

    root: Path
    experiment: str
    name: str
    params: Mapping[str, Any]
    dataset: str
    tags: Mapping[str, str]
    about: Mapping[str, str]
    watches_system: bool = False

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
        self._system: Any = None
        self._ended = False

    def open(self) -> None:
        """Continue the unfinished run of this execution, or begin one."""
        self._send(self._open)

    def watch_system(self) -> None:
        """Log how busy processor, GPU, memory, disk and network are, until the run is ended."""
        if self._identity.watches_system:
            self._send(self._watch_system)

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

    def log_dataset(self, name: str, *, source: str, counts: Mapping[str, int]) -> None:
        """Log the images that the run is of as its input. counts: what -> how many there are."""
        self._send(partial(self._log_dataset, name, source, counts))

    def name_model(self, digest: str) -> None:
        """Note the digest of the trained model, by which its run is found."""
        self.tag(MODEL_DIGEST, digest)

    def describe(self, text: str) -> None:
        """Set the description of the run, in Markdown."""
        self.tag(NOTE, text)

    def log_artifacts(self, paths: list[Path], folder: str | None = None) -> None:
        """Log files as artifacts, in a folder of that name."""
        for path in paths:
            self._send(partial(self._log_artifact, path, folder))

    def pause(self, status: str = "FINISHED") -> None:
        """End the run for now: another stage continues it, unless DVC finds nothing left to do.

        status: as MLflow names it, or KILLED for a training that is to be continued.
        """
        self._stop_watching()
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

    def _stop_watching(self) -> None:
        self._ended = True
        if self._system is not None:
            self._system.finish()
            self._system = None

    def _end(self, complete: str, status: str) -> None:
        self._stop_watching()

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
        if not is_away(error):
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
        with database_lock(self._identity.root):
            self._client = connect(self._identity.root)
            experiment = find_experiment(
                self._client, self._identity.root, self._identity.experiment
            )
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
        # The latest comes first.
        numbered = f"tags.`{NUMBER}` LIKE '%'"
        latest = self._client.search_runs([experiment], numbered, max_results=1)
        found = [run.data.tags[NUMBER] for run in latest]
        number = str(1 + max((int(each) for each in found if each.isdigit()), default=0))
        tags = {
            "lookalike.key": self._identity.key,
            "dataset_fingerprint": self._identity.dataset,
            COMPLETE: "false",
            NUMBER: number,
            **self._identity.tags,
            **self._identity.about,
        }
        experiment_name = self._identity.tags.get("dvc_exp_name")
        name = f"{self._identity.name} #{number}"
        name += f" ({experiment_name})" if experiment_name else ""
        run_id: str = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        return run_id

    def _watch_system(self) -> None:
        if self._ended:  # a server that was away is back at the end
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        uri = find_uri(self._identity.root)
        self._system = SystemMetricsMonitor(self._run_id, resume_logging=True, tracking_uri=uri)
        self._system.start()

    def _log_params(self) -> None:
        """Log the params, of a run that goes on too: it may have been begun just before a kill."""
        from mlflow.entities import Param

        params = [Param(k, str(v)[:6000]) for k, v in self._identity.params.items()]
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

    def _log_dataset(self, name: str, source: str, counts: Mapping[str, int]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        logged = Dataset(
            name=name,
            digest=self._identity.dataset[:36],  # the most that MLflow takes
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(dict(counts)),
        )
        context = [InputTag("mlflow.data.context", "training and evaluation")]
        self._client.log_inputs(self._run_id, datasets=[DatasetInput(logged, context)])

    def _log_artifact(self, path: Path, folder: str | None) -> None:
        self._client.log_artifact(self._run_id, str(path), folder)


def _now() -> int:
    return int(time.time() * 1000)
