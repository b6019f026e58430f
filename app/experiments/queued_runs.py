"""Runs: points of a recipe, each an experiment in DVC's queue.

The name of an experiment ends in a digest of what makes it: the commit, the changes since then in
the code and in the images that git or DVC tracks, and all params. So an interrupted command finds
its experiments again by name, and does not queue those that are done or queued.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.experiments import git
from app.experiments.dvc_adapter import queue
from app.experiments.dvc_adapter.lock import CODE_FOLDERS
from app.experiments.recipes import Recipe, check_settings
from app.experiments.text_tables import format_short
from pipeline.config.load import read_yaml
from pipeline.config.schema import Params
from pipeline.datasets import DATASETS
from pipeline.errors import UserError
from pipeline.stopping import Stopped

# Read by every experiment, like params.yaml; *.dvc are the images that DVC tracks.
CODE = (*CODE_FOLDERS, "dvc.yaml", "*.dvc")
SOURCE = "data.source"
MIN_SECONDS, MAX_SECONDS = 1.0, 15.0  # between two looks at the queue

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """The start of runs: a commit, the diff of the code and the images, the text of params.yaml."""

    commit: str
    diff: str
    params: str

    def digest(self, *values: Any) -> str:
        """Return seven characters that identify the commit, the code and plain `values`."""
        text = json.dumps([self.commit, self.diff, *values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:7]


@dataclass(frozen=True)
class Run:
    """One point of a recipe.

    name: of its experiment. values: the values that make the point, by short key. settings: all
    that it sets, by dotted key: those of the recipe too. short: dotted key -> short key, of
    `values`.
    """

    name: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    short: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The point for messages: "margin=0.3 epochs=3"."""
        return " ".join(format_values(self.values))


def read_origin(params: Path) -> Origin:
    """Return the origin of runs that are queued now; raises as `git.head_commit`."""
    commit, text = git.head_commit(), params.read_text(encoding="utf-8")
    images = [git.diff_from_head(source) for source in _find_source(params)]
    return Origin(commit, "".join([git.diff_from_head(*CODE), *images]), text)


def make_run(
    recipe: Recipe, point: Mapping[str, Any], origin: Origin, *, short: Mapping[str, str]
) -> Run:
    """Return the run of a recipe at `point`, dotted key -> value.

    short: dotted key -> short key, of `shorten_keys`.

    Raises:
        UserError: the values are not allowed together, or the run cannot be queued.
    """
    values = {short[key]: value for key, value in point.items()}
    settings = dict(recipe.settings) | dict(point)
    where = f"{recipe.where}: {' '.join(format_values(values))}"
    plain, params = check_settings(origin.params, settings, where=where)
    _check_source(params, where=where)
    for key, value in settings.items():
        if "${" in str(value):
            raise UserError(
                f"{where}: {key}: found {value!r}; allowed in an experiment: no '${{', which DVC "
                "would replace by another value; write that value instead"
            )
    # That of params.yaml is in the origin.
    images = [git.diff_from_head(settings[SOURCE])] if SOURCE in settings else []
    name = name_run(recipe.path.stem, values, origin.digest(plain, *images))
    return Run(name, values, settings, {key: short[key] for key in point})


def shorten_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return dotted key -> its shortest end that no other key has, but never just "name".

    A key that is the end of another, as `seed` of `train.seed`, stays whole.
    """
    keys = list(keys)

    def ends(key: str) -> list[str]:
        parts = key.split(".")
        least = 2 if parts[-1] == "name" else 1
        return [".".join(parts[-length:]) for length in range(least, len(parts) + 1)]

    return {
        key: next((end for end in ends(key) if sum(end in ends(other) for other in keys) == 1), key)
        for key in keys
    }


def format_values(values: Mapping[str, Any]) -> list[str]:
    """Return "key=value" of each, floats with four significant digits."""
    return [f"{key}={format_short(value)}" for key, value in values.items()]


def name_run(recipe: str, values: Mapping[str, Any], digest: str) -> str:
    """Return a name that git allows for a ref: "coco_margin=0.3_epochs=3_1a2b3c4"."""
    text = "_".join([recipe, *format_values(values)])
    readable = re.sub(r"[^\w.=+-]+", "-", text, flags=re.ASCII)
    return re.sub(r"\.\.+", ".", readable)[:100].strip("-.") + f"_{digest}"


def _find_source(params: Path) -> list[str]:
    """Return `data.source`, or nothing where params.yaml has none; `make_run` reports that."""
    values = read_yaml(params)
    try:
        return [str(values["data"]["source"])]
    except (KeyError, TypeError):
        return []


def _check_source(params: Params, *, where: str) -> None:
    source = Path(params.data.source)
    if queue.is_in_git_or_dvc(source, whole=True):
        return
    reads_source = DATASETS[params.data.name].reads_source(params.data.options)
    if reads_source or not queue.is_in_git_or_dvc(source, whole=False):
        raise UserError(
            f"{where}: data.source: found '{source}'; a queued experiment finds only what is in "
            f"git or DVC; set data.source to an absolute path: {source.absolute()}"
        )


def enqueue(runs: Sequence[Run], *, commit: str) -> None:
    """Queue the runs that are neither done nor queued; those that failed before are repeated."""
    queue.mark_lost_as_failed()
    # First, since it waits for DVC's lock, which a killed command's last queueing may still hold.
    done = queue.list_finished(commit)
    states = queue.read_states()
    for run in runs:
        if run.name in done:
            logger.info("%s: done before", run.label)
        elif states.get(run.name) in queue.PENDING:
            logger.info("%s: %s before", run.label, states[run.name].lower())
        else:
            if run.name in states:
                queue.remove(run.name)
            queue.add(run.name, run.settings)
            logger.info("%s: queued", run.label)


class QueueWatch:
    """Looks at the queue again and again, and meanwhile keeps `jobs` workers running."""

    def __init__(self, *, jobs: int) -> None:
        self._jobs = jobs
        self._states: dict[str, str] = {}
        self._changed = time.monotonic()

    def look(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return name -> Queued or Running of the `runs` that are so; log changes."""
        states = queue.read_states()
        for run in runs:
            state = states.get(run.name, "gone")
            if state != self._states.get(run.name, state):
                self._changed = time.monotonic()
                logger.info("%s: %s", run.label, state.lower())
            self._states[run.name] = state
        return {
            run.name: self._states[run.name]
            for run in runs
            if self._states[run.name] in queue.PENDING
        }

    def rest(self, pending: int) -> None:
        """Start workers if there are too few for the `pending` runs, and sleep."""
        workers = queue.count_workers()
        if workers < min(self._jobs, pending):  # DVC's stop when idle, and sometimes earlier
            if not workers:
                queue.mark_lost_as_failed()
            queue.start_workers(self._jobs)
        # Short runs are noticed soon, and long ones lose no time to looking.
        passed = time.monotonic() - self._changed
        time.sleep(min(MAX_SECONDS, max(MIN_SECONDS, passed / 20)))


@contextmanager
def interruptible() -> Iterator[None]:
    """Say what goes on if Ctrl-C or SIGTERM ends the block."""
    try:
        yield
    except Stopped:
        logger.warning(
            "running experiments go on without this command, which can be run again; "
            "to end them: dvc queue stop --kill"
        )
        raise
