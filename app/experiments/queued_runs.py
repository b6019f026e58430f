"""Runs: points of a recipe, each an experiment in DVC's queue.

An experiment's name ends in a digest of what makes it: the commit, what was changed since in the
code and in the images that DVC has, and all params. So whoever was interrupted knows its own
experiments again by name, and what is done or queued is not queued again.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.experiments import dvc_adapter
from app.experiments.recipes import Recipe, applied
from pipeline.config.dotted_keys import show_value
from pipeline.config.schema import Params
from pipeline.datasets import DATASETS
from pipeline.errors import UserError

# What an experiment runs and reads, beside params.yaml; *.dvc is what DVC has of images.
CODE = ("pipeline", "stages", "dvc.yaml", "*.dvc")
FEWEST_SECONDS, MOST_SECONDS = 1.0, 15.0  # between two looks at the queue

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """What runs begin at: a commit, what was changed since in CODE, and a params.yaml."""

    commit: str
    code: str
    params: str

    def digest(self, *made: Any) -> str:
        """Return seven letters that stand for commit, code and `made` (plain values)."""
        told = json.dumps([self.commit, self.code, *made], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:7]


@dataclass(frozen=True)
class Run:
    """One point.

    name: of its experiment. values: what was chosen, by short key. settings: all that it sets, by
    dotted key, the recipe's own values too.
    """

    name: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The point for people: "margin=0.3 epochs=3"."""
        return " ".join(label_values(self.values))


def read_origin(params: Path) -> Origin:
    """Return what runs that are queued now begin at; raises as `experiments.baseline` does."""
    return Origin(
        dvc_adapter.baseline(), dvc_adapter.changed_code(*CODE), params.read_text(encoding="utf-8")
    )


def make_run(
    recipe: Recipe, chosen: Mapping[str, Any], origin: Origin, *, short: Mapping[str, str]
) -> Run:
    """Return the run of a recipe with `chosen`, dotted key -> value, upon its own settings.

    short: what each key is called for people, of `shorten`.

    Raises:
        UserError: the values are not allowed together, or the run cannot be queued.
    """
    values = {short[key]: value for key, value in chosen.items()}
    settings = dict(recipe.settings) | dict(chosen)
    where = f"{recipe.path}: {' '.join(label_values(values))}"
    plain, params = applied(origin.params, settings, where=where)
    _check_source(params, where=where)
    for key, value in settings.items():
        if "${" in str(value):
            raise UserError(
                f"{where}: {key}: found {value!r}; allowed in an experiment: no '${{', in whose "
                "place DVC would put another value; write that value itself"
            )
    return Run(name_run(recipe.path.stem, values, origin.digest(plain)), values, settings)


def shorten(keys: Iterable[str]) -> dict[str, str]:
    """Return each dotted key -> the shortest end of it that no other has, but never just "name"."""
    keys = list(keys)

    def ends(key: str) -> list[str]:
        parts = key.split(".")
        least = 2 if parts[-1] == "name" else 1
        return [".".join(parts[-length:]) for length in range(least, len(parts) + 1)]

    return {
        key: next(end for end in ends(key) if sum(end in ends(other) for other in keys) == 1)
        for key in keys
    }


def label_values(values: Mapping[str, Any]) -> list[str]:
    """Return "key=value" of each, drawn numbers to four digits."""
    return [f"{key}={format_short(value)}" for key, value in values.items()]


def format_short(value: Any) -> str:
    """Return a value as params.yaml has it, but no longer than people read."""
    return f"{value:.4g}" if isinstance(value, float) else show_value(value)


def name_run(recipe: str, values: Mapping[str, Any], digest: str) -> str:
    """Return a name that git takes for a ref: "coco_margin=0.3_epochs=3_1a2b3c4"."""
    readable = re.sub(r"[^\w.=+-]+", "-", "_".join([recipe, *label_values(values)]), flags=re.ASCII)
    return re.sub(r"\.\.+", ".", readable)[:100].strip("-.") + f"_{digest}"


def _check_source(params: Params, *, where: str) -> None:
    source = Path(params.data.source)
    if dvc_adapter.is_complete_in_queue(source, whole=True):
        return
    reads_source = DATASETS[params.data.name].reads_source(params.data.options)
    if reads_source or not dvc_adapter.is_complete_in_queue(source, whole=False):
        raise UserError(
            f"{where}: data.source: found '{source}'; a queued experiment sees only what is in git "
            f"or DVC; set data.source to an absolute path: {source.absolute()}"
        )


def enqueue(runs: Sequence[Run], *, commit: str, tell: Tell) -> None:
    """Put into the queue what is neither done nor in it; what failed before is tried again."""
    dvc_adapter.fail_lost()
    # The first waits for DVC's lock, which the last queueing of a killed command may hold.
    done = dvc_adapter.finished(commit)
    waiting = dvc_adapter.read_queue()
    for run in runs:
        if run.name in done:
            tell(f"{run.label}: done before")
        elif waiting.get(run.name) in dvc_adapter.WAITING:
            tell(f"{run.label}: {waiting[run.name].lower()} before")
        else:
            if run.name in waiting:
                dvc_adapter.forget(run.name)
            dvc_adapter.queue(run.name, run.settings)
            tell(f"{run.label}: queued")


class QueueWatch:
    """Looks at the queue again and again, and keeps its workers at work meanwhile."""

    def __init__(self, *, jobs: int, tell: Tell) -> None:
        self._jobs = jobs
        self._tell = tell
        self._seen: dict[str, str] = {}
        self._changed = time.monotonic()

    def look(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return name -> Queued or Running of those of `runs` that are so; tell what changed."""
        queue = dvc_adapter.read_queue()
        for run in runs:
            state = queue.get(run.name, "gone")
            if state != self._seen.get(run.name, state):
                self._changed = time.monotonic()
                self._tell(f"{run.label}: {state.lower()}")
            self._seen[run.name] = state
        seen = {run.name: self._seen[run.name] for run in runs}
        return {name: state for name, state in seen.items() if state in dvc_adapter.WAITING}

    def rest(self, waiting: int) -> None:
        """Start workers where `waiting` runs have fewer than they may, and let some time pass."""
        working = dvc_adapter.workers()
        if working < min(self._jobs, waiting):  # DVC's stop early at times, and when idle
            if not working:
                dvc_adapter.fail_lost()
            dvc_adapter.start(self._jobs)
        # Short runs are seen soon, and long ones lose nothing to looking.
        passed = time.monotonic() - self._changed
        time.sleep(min(MOST_SECONDS, max(FEWEST_SECONDS, passed / 20)))


def find_reason(log: str) -> str:
    """Return why an experiment failed: the failed stage's own line, or else the last one's.

    log: what `dvc queue logs` shows.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return "it did not begin, so there is no log; run again"
    failed = re.search(r"failed to reproduce '([^'@]+)", log)
    if failed:
        said = [line for line in lines if line.startswith(f"{failed[1]}: ")]
        raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        for candidates in (raised, said):
            if candidates:
                return candidates[-1]
    begun = re.findall(r"Running stage '([^']+)'", log)
    if begun and not any(line.startswith("ERROR: ") for line in lines):
        return f"its processes were killed in {begun[-1]}; run again"
    return lines[-1].removeprefix("ERROR: ")


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, a line a row, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def format_metric(value: Any) -> str:
    """Return a figure of a table to three digits; "-" for none."""
    return "-" if value is None else f"{value:.3f}"
