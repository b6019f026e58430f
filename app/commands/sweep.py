"""`lookalike sweep`: each combination of a recipe's `sweep`, as experiments in DVC's queue."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.experiments import queued_runs, sweeps
from app.experiments.chosen_recipe import PARAMS, read_chosen_recipe, warn_of_unused
from app.experiments.dvc_adapter import queue
from app.experiments.dvc_adapter.run_log import find_failure_reason
from app.experiments.recipes import check_settings
from pipeline.tracking.experiments import TrackedExperiments

logger = logging.getLogger(__name__)


def run_sweep(name: str, overrides: Sequence[str], *, jobs: int, dry_run: bool) -> None:
    """Run the sweep of the recipe `name` and print a table of its results.

    The exit status is 1 where an experiment failed.

    overrides: the user's values, each "dotted.key=value". jobs: experiments at a time. dry_run:
    only print the names of the experiments.
    """
    recipe, params = read_chosen_recipe(name, overrides)
    origin = queued_runs.read_origin(PARAMS)
    runs = sweeps.plan_runs(recipe, origin)
    warn_of_unused(recipe, [run.settings for run in runs], params)
    if dry_run:
        print("\n".join(run.name for run in runs))
        return
    with queued_runs.interruptible():
        sweeps.finish_runs(runs, commit=origin.commit, jobs=jobs)
    _, checked = check_settings(origin.params, recipe.settings, where=recipe.where)
    tracked = TrackedExperiments(Path.cwd(), checked.track.experiment)
    tracked.put_under(f"sweep {name}, {origin.commit[:7]}", [run.name for run in runs])
    _print_results(runs, sweeps.read_results(runs, origin.commit))


def _print_results(
    runs: Sequence[queued_runs.Run], results: Mapping[str, sweeps.FinishedRun]
) -> None:
    print(sweeps.tabulate(runs, results))
    failed = [run for run in runs if run.name not in results]
    if len(failed) < len(runs):
        print("to use one: dvc exp apply EXPERIMENT; choose by val_: the other metrics are of test")
    for run in failed:
        reason = find_failure_reason(queue.read_log(run.name))
        logger.error("%s: %s (dvc queue logs %s)", run.label, reason, run.name)
    if failed:
        sys.exit(1)
