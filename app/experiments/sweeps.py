"""Sweeps: each combination of a recipe's `sweep`, an experiment in DVC's queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from app.experiments.dvc_adapter import queue, revisions
from app.experiments.queued_runs import Origin, QueueWatch, Run, enqueue, make_run, shorten_keys
from app.experiments.recipes import SWEEP, Recipe
from app.experiments.text_tables import align_columns, format_metric
from pipeline.config.dotted_keys import show_value
from pipeline.data.metrics_files import name_dataset
from pipeline.errors import UserError

SEED = "train.seed"
_MEAN, _DEVIATION = "mean", "sd"
TRAIN, TEST = "metrics/details/train.json", "metrics/details/finetuned.json"
SHOWN_METRICS = (
    (TRAIN, "val_map_at_r"),
    (TEST, "recall_at_1"),
    (TEST, "precision_at_5"),
    (TEST, "map"),
    (TEST, "map_at_r"),
)


@dataclass(frozen=True)
class FinishedRun:
    """A finished experiment: its commit, and its metrics by file (as TRAIN)."""

    commit: str
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def plan_runs(recipe: Recipe, origin: Origin) -> list[Run]:
    """Return a run for each combination of the recipe's `sweep`.

    Raises:
        UserError: there is no `sweep`, or a combination of it is not allowed or cannot be queued.
    """
    if not recipe.sweep:
        raise UserError(
            f"{recipe.path}: {SWEEP}: found none; allowed: dotted keys, each with a list; without: "
            f"lookalike recipe apply {recipe.path.stem} && dvc repro"
        )
    short = shorten_keys(dict.fromkeys(key for grid in recipe.sweep for key in grid))
    runs = [make_run(recipe, point, origin, short=short) for point in recipe.combinations()]
    return list({run.name: run for run in runs}.values())  # a repeated value is one run


def finish_runs(runs: Sequence[Run], *, commit: str, jobs: int) -> None:
    """Queue the runs that were not done before, and return when all have ended."""
    enqueue(runs, commit=commit)
    watch = QueueWatch(jobs=jobs)
    while pending := watch.look(runs):
        watch.rest(len(pending))


def read_results(runs: Sequence[Run], commit: str) -> dict[str, FinishedRun]:
    """Return name -> result of the finished ones of `runs`, which started from `commit`."""
    done = queue.list_finished(commit)
    return {
        run.name: FinishedRun(
            done[run.name],
            {path: revisions.read_revision_metrics(done[run.name], path) for path in (TRAIN, TEST)},
        )
        for run in runs
        if run.name in done
    }


def tabulate(runs: Sequence[Run], results: Mapping[str, FinishedRun]) -> str:
    """Return the combinations and their metrics as a table; a run without a result has failed.

    Where the seed of the training is swept, the mean and the standard deviation over the seeds
    follow, of each combination of the other keys. Runs on different datasets have a column that
    names them.
    """
    shown = [
        (path, metric)
        for path, metric in SHOWN_METRICS
        if any(metric in result.metrics.get(path, {}) for result in results.values())
    ]
    keys = list(dict.fromkeys(key for run in runs for key in run.values))
    trainings: dict[tuple[str, ...], list[list[float]]] = {}
    datasets = {name: name_dataset(of.metrics.get(TEST, {})) for name, of in results.items()}
    differ = len(set(datasets.values())) > 1
    rows = [[*keys, *(["dataset"] if differ else []), *(metric for _, metric in shown)]]
    rows[0].append("experiment")
    for run in runs:
        cells = _show_values(run.values, keys)
        result = results.get(run.name, FinishedRun("failed"))
        metrics = [result.metrics.get(path, {}).get(metric) for path, metric in shown]
        dataset = [datasets.get(run.name, "-")] if differ else []
        rows.append([*cells, *dataset, *map(format_metric, metrics), result.commit[:7]])
        known = [value for value in metrics if value is not None]
        if (seed := run.short.get(SEED)) and len(known) == len(shown):
            setting = (*_show_values({**run.values, seed: _MEAN}, keys), *dataset)
            trainings.setdefault(setting, []).append(known)
    for setting, found in trainings.items():
        if len(found) > 1:
            rows += _summarize(setting, found)
    return align_columns(rows)


def _show_values(values: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [show_value(values[key]) if key in values else "-" for key in keys]


def _summarize(setting: Sequence[str], found: Sequence[Sequence[float]]) -> list[list[str]]:
    """Return two rows: mean and standard deviation (n - 1) of each metric over the seeds."""
    deviation = [_DEVIATION if cell == _MEAN else cell for cell in setting]
    count = f"{len(found)} seeds"
    return [
        [*cells, *(format_metric(statistic(column)) for column in zip(*found, strict=True)), count]
        for cells, statistic in ((setting, mean), (deviation, stdev))
    ]
