"""Sweeps: a recipe in each combination of its `sweep`, each an experiment in DVC's queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.experiments import dvc_adapter
from app.experiments.queued_runs import (
    Origin,
    QueueWatch,
    Run,
    Tell,
    align,
    enqueue,
    format_metric,
    make_run,
    shorten,
)
from app.experiments.recipes import SWEEP, Recipe
from pipeline.config.dotted_keys import show_value
from pipeline.errors import UserError

TRAIN, TEST = "metrics/train.json", "metrics/finetuned.json"
SHOWN_METRICS = (
    (TRAIN, "val_map_at_r"),
    (TEST, "recall_at_1"),
    (TEST, "precision_at_5"),
    (TEST, "map"),
    (TEST, "map_at_r"),
)


@dataclass(frozen=True)
class FinishedRun:
    """A finished experiment: its commit, and its figures by file (as "metrics/train.json")."""

    commit: str
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def plan(recipe: Recipe, origin: Origin) -> list[Run]:
    """Return a run for each combination of the recipe's `sweep`.

    Raises:
        UserError: there is no `sweep`, or a combination of it is not allowed or cannot be queued.
    """
    if not recipe.sweep:
        raise UserError(
            f"{recipe.path}: {SWEEP}: found none; allowed: dotted keys, each with a list; without: "
            f"lookalike recipe apply {recipe.path.stem} && dvc repro"
        )
    short = shorten(dict.fromkeys(key for grid in recipe.sweep for key in grid))
    runs = [make_run(recipe, chosen, origin, short=short) for chosen in recipe.combinations()]
    return list({run.name: run for run in runs}.values())  # a value that is listed twice is one


def work(runs: Sequence[Run], *, commit: str, jobs: int, tell: Tell) -> None:
    """Queue what is not done before, and return when none of `runs` waits or runs."""
    enqueue(runs, commit=commit, tell=tell)
    watch = QueueWatch(jobs=jobs, tell=tell)
    while waiting := watch.look(runs):
        watch.rest(len(waiting))


def read_results(runs: Sequence[Run], commit: str) -> dict[str, FinishedRun]:
    """Return name -> result of those of `runs`, begun at `commit`, that are finished."""
    done = dvc_adapter.finished(commit)
    return {
        run.name: FinishedRun(
            done[run.name],
            {path: dvc_adapter.read_metrics(done[run.name], path) for path in (TRAIN, TEST)},
        )
        for run in runs
        if run.name in done
    }


def tabulate(runs: Sequence[Run], results: Mapping[str, FinishedRun]) -> str:
    """Return the combinations and their figures as a table; what has no result has failed."""
    figures = [
        (path, figure)
        for path, figure in SHOWN_METRICS
        if any(figure in result.figures.get(path, {}) for result in results.values())
    ]
    keys = list(dict.fromkeys(key for run in runs for key in run.values))
    rows = [[*keys, *(figure for _, figure in figures), "experiment"]]
    for run in runs:
        values = [show_value(run.values[key]) if key in run.values else "-" for key in keys]
        result = results.get(run.name, FinishedRun("failed"))
        cells = [
            format_metric(result.figures.get(path, {}).get(figure)) for path, figure in figures
        ]
        rows.append([*values, *cells, result.commit[:7]])
    return align(rows)
