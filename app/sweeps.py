"""Sweeps: a recipe in each combination of its `sweep`, each an experiment in DVC's queue.

An experiment's name ends in a digest of what makes it: the commit, what was changed in the code
since, and all params. So a sweep that was interrupted knows its own experiments again by name, and
what is done or queued is not queued again.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from app import experiments
from app.recipes import SWEEP, Recipe, apply, show_value
from pipeline.datasets import DATASETS
from pipeline.errors import UserError
from pipeline.params import Params, check_params

CODE = ("pipeline", "stages", "dvc.yaml")  # what an experiment runs, beside params.yaml
TRAIN, TEST = "metrics/train.json", "metrics/finetuned.json"
FIGURES = (
    (TRAIN, "val_map_at_r"),
    (TEST, "recall_at_1"),
    (TEST, "precision_at_5"),
    (TEST, "map"),
    (TEST, "map_at_r"),
)
FEWEST_SECONDS, MOST_SECONDS = 1.0, 15.0  # between two looks at the queue

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One combination.

    name: of its experiment. values: what was combined, by short key. settings: all that it sets,
    by dotted key, the recipe's own values too.
    """

    name: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The combination for people: "margin=0.3 epochs=3"."""
        return " ".join(f"{key}={show_value(value)}" for key, value in self.values.items())


def plan(recipe: Recipe, params: str, *, baseline: str, code: str) -> list[Run]:
    """Return a run for each combination of the recipe's `sweep` upon `params`, a params.yaml.

    baseline: the commit. code: what was changed since.

    Raises:
        UserError: there is no `sweep`, or a combination of it is not allowed or cannot be queued.
    """
    if not recipe.sweep:
        raise UserError(
            f"{recipe.path}: {SWEEP}: found none; allowed: dotted keys, each with a list; without: "
            f"lookalike recipe apply {recipe.path.stem} && dvc repro"
        )
    short = shorten(dict.fromkeys(key for grid in recipe.sweep for key in grid))
    runs = {}
    for combination in recipe.combinations():
        values = {short[key]: value for key, value in combination.items()}
        settings = dict(recipe.settings) | combination
        where = f"{recipe.path}: {Run('', values, {}).label}"
        applied = YAML(typ="safe").load(apply(params, settings, where=where))
        _check_source(check_params(applied, where=where), where=where)
        told = json.dumps([baseline, code, applied], sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()[:7]
        name = name_experiment(recipe.path.stem, values, digest)
        runs[name] = Run(name, values, settings)  # a value that is listed twice is one run
    return list(runs.values())


def shorten(keys: Iterable[str]) -> dict[str, str]:
    """Return each dotted key -> the shortest end of it that no other has."""
    keys = list(keys)

    def ends(key: str) -> list[str]:
        parts = key.split(".")
        return [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]

    return {
        key: next(end for end in ends(key) if sum(end in ends(other) for other in keys) == 1)
        for key in keys
    }


def name_experiment(recipe: str, values: Mapping[str, Any], digest: str) -> str:
    """Return a name that git takes for a ref: "coco_margin=0.3_epochs=3_1a2b3c4"."""
    said = [recipe, *(f"{key}={show_value(value)}" for key, value in values.items())]
    readable = re.sub(r"[^\w.=+-]+", "-", "_".join(said), flags=re.ASCII)
    return re.sub(r"\.\.+", ".", readable)[:100].strip("-.") + f"_{digest}"


def _check_source(params: Params, *, where: str) -> None:
    data = params.data
    dataset = DATASETS[data.name]
    fetched = hasattr(dataset, "archives") and dataset.archives(data.options)
    reads = data.name != "products" and not fetched
    source = Path(data.source)
    if not experiments.is_complete_in_queue(source, whole=reads):
        raise UserError(
            f"{where}: data.source: found '{source}'; a queued experiment sees only what is in git "
            f"or DVC; set data.source to an absolute path: {source.absolute()}"
        )


def enqueue(runs: Sequence[Run], *, baseline: str, tell: Tell) -> None:
    """Put into the queue what is neither done nor in it; what failed before is tried again."""
    experiments.fail_lost()
    # In this order: the first waits for DVC's lock, which a killed sweep's last queueing may hold.
    done = experiments.finished(baseline)
    waiting = experiments.read_queue()
    for run in runs:
        if run.name in done:
            tell(f"{run.label}: done before")
        elif waiting.get(run.name) in experiments.WAITING:
            tell(f"{run.label}: {waiting[run.name].lower()} before")
        else:
            if run.name in waiting:
                experiments.forget(run.name)
            experiments.queue(run.name, run.settings)
            tell(f"{run.label}: queued")


def follow(runs: Sequence[Run], *, jobs: int, tell: Tell) -> None:
    """Start the queue with `jobs` workers, and return when none of `runs` waits or runs.

    Workers that stop early, as DVC's do at times, are started again.
    """
    labels = {run.name: run.label for run in runs}
    began = time.monotonic()
    before = {name: state for name, state in experiments.read_queue().items() if name in labels}
    if not any(state in experiments.WAITING for state in before.values()):
        return
    experiments.start(jobs)
    while True:
        now = experiments.read_queue()
        for name, label in labels.items():
            if now.get(name) != before.get(name):
                tell(f"{label}: {now.get(name, 'gone').lower()}")
        before = now
        if not any(now.get(name) in experiments.WAITING for name in labels):
            return
        if not experiments.working():
            experiments.fail_lost()
            experiments.start(jobs)
        # Short runs are seen soon, and long ones lose nothing to looking.
        time.sleep(min(MOST_SECONDS, max(FEWEST_SECONDS, (time.monotonic() - began) / 20)))


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
        raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        for candidates in (said, raised):
            if candidates:
                return candidates[-1]
    begun = re.findall(r"Running stage '([^']+)'", log)
    if begun and not any(line.startswith("ERROR: ") for line in lines):
        return f"its processes were killed in {begun[-1]}; run again"
    return lines[-1].removeprefix("ERROR: ")


def tabulate(runs: Sequence[Run], results: Mapping[str, experiments.Result]) -> str:
    """Return the combinations and their figures as a table; what has no result has failed."""
    figures = [
        (path, figure)
        for path, figure in FIGURES
        if any(figure in result.metrics.get(path, {}) for result in results.values())
    ]
    keys = list(dict.fromkeys(key for run in runs for key in run.values))
    rows = [[*keys, *(figure for _, figure in figures), "experiment"]]
    for run in runs:
        values = [show_value(run.values[key]) if key in run.values else "-" for key in keys]
        result = results.get(run.name)
        metrics = result.metrics if result else {}
        cells = [_show_figure(metrics.get(path, {}).get(figure)) for path, figure in figures]
        rows.append([*values, *cells, result.rev if result else "failed"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _show_figure(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
