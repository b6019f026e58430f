"""`lookalike tune`: search a recipe's `tune` space by experiments in DVC's queue."""

import logging
import sys
from collections.abc import Sequence

from app.experiments import queued_runs, search_spaces, studies, tuner
from app.experiments.chosen_recipe import PARAMS, read_chosen_recipe, warn_of_unused

logger = logging.getLogger(__name__)


def run_tuning(name: str, overrides: Sequence[str], *, trials: int | None, jobs: int) -> None:
    """Search the space of the recipe `name`; print a table of the trials and the best of them.

    The exit status is 1 where no trial has a result.

    overrides: the user's values, each "dotted.key=value". trials: total, earlier runs included;
    None for the recipe's number. jobs: experiments at a time.
    """
    recipe, params = read_chosen_recipe(name, overrides)
    origin = queued_runs.read_origin(PARAMS)
    with tuner.open_tuning(recipe, origin, params=PARAMS) as tuning:
        warn_of_unused(recipe, search_spaces.list_ends(recipe, tuning.space.dimensions), params)
        with queued_runs.interruptible():
            tuning.run_trials(trials=trials, jobs=jobs)
        print(studies.tabulate(tuning.study, tuning.metric, tuning.short))
        for failure in studies.list_failures(tuning.study):
            logger.error(failure)
        best = studies.describe_best(tuning.study, tuning.metric)
    if not best:
        sys.exit(1)
    print(best)
