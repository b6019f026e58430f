"""Experiments of DVC by their names in MLflow: their epochs while they run, and their parent."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import one_line
from pipeline.stopping import ended_first
from pipeline.tracking.store import connect, database_lock
from pipeline.tracking.tracker import COMPLETE, VARIANT

UNREAD = "epochs are not read from MLflow, so nothing is ended early until they are"
PARENT = "mlflow.parentRunId"
GROUP = "lookalike.group"  # of a run that others are below: its name

logger = logging.getLogger(__name__)


class TrackedExperiments:
    """Finds the runs of experiments, by the names that the experiments have in DVC.

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

    def put_under(self, parent: str, names: Iterable[str]) -> None:
        """Show the runs of the experiments `names` below one run called `parent`."""
        consequence = f"the runs are not shown below '{parent}' in MLflow"
        with self._warned_of(consequence):
            self._put_under(parent, names)

    def end(self, name: str) -> None:
        """Mark the unfinished runs of a killed experiment, so that none is continued."""
        with self._warned_of():
            self._end(name)

    @contextmanager
    def _warned_of(self, consequence: str = UNREAD) -> Iterator[None]:
        try:
            with ended_first():
                yield
        except Exception as error:  # no failure of tracking may end a search
            if not self._warned:
                logger.warning("warning: %s: %s", consequence, one_line(error))
            self._warned = True

    def _epochs(self, name: str, metric: str) -> dict[int, float]:
        runs = [run for run in self._runs(name) if VARIANT not in run.data.tags]
        return {
            point.step: point.value
            for run in runs[:1]
            for point in self._client.get_metric_history(run.info.run_id, metric)
        }

    def _put_under(self, parent: str, names: Iterable[str]) -> None:
        found = [run for name in names for run in self._runs(name)]
        if not found:
            return
        experiment = found[0].info.experiment_id
        parents = self._client.search_runs([experiment], f"tags.`{GROUP}` = '{parent}'")
        if parents:
            run_id = parents[0].info.run_id
        else:
            made = self._client.create_run(experiment, run_name=parent, tags={GROUP: parent})
            run_id = made.info.run_id
            self._client.set_terminated(run_id)
        for run in found:
            self._client.set_tag(run.info.run_id, PARENT, run_id)

    def _end(self, name: str) -> None:
        for run in self._runs(name):
            if run.data.tags.get(COMPLETE) == "false":
                self._client.set_tag(run.info.run_id, COMPLETE, "killed")
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _runs(self, name: str) -> list[Any]:
        if not self._client:
            with database_lock(self._root):
                self._client = connect(self._root)
        experiment = self._client.get_experiment_by_name(self._experiment)
        if not experiment:
            return []
        # MLflow returns the latest first.
        query = f"tags.dvc_exp_name = '{name}'"
        return list(self._client.search_runs([experiment.experiment_id], query))
