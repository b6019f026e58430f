"""What optuna keeps of a search, in tune.db, and what a person is told of it."""

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState

from app.experiments.queued_runs import align, format_metric, format_short
from pipeline.config.dotted_keys import show_value

STORAGE = Path("tune.db")
COMPLETE_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 4, 2
# The attribute of a trial that counts for nothing, why: drawn before, or lost while it was drawn.
VOID = "void"
# As a table has them, the best first.
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def open_study(name: str) -> optuna.Study:
    """Return the study `name` of tune.db, new or as it was left."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{STORAGE}",
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=MedianPruner(COMPLETE_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING),
    )


def tabulate(study: optuna.Study, metric: str, short: Mapping[str, str]) -> str:
    """Return the trials that have ended as a table, the best first.

    metric: what their values are. short: what each key is called.
    """
    rows = [[*short.values(), metric, "epochs", "state", "experiment"]]
    for trial in _ranked(study):
        values = [format_short(trial.params[key]) if key in trial.params else "-" for key in short]
        told = trial.user_attrs
        epochs = str(told.get("epochs", told.get("pruned", "-")))
        commit = told.get("commit", "-")[:7]
        rows.append([*values, format_metric(trial.value), epochs, STATES[trial.state], commit])
    return align(rows)


def describe_best(study: optuna.Study, metric: str) -> str:
    """Return the best trial's values as lines of params, and what to do with it; "" for none.

    What a person has told optuna beside has no experiment, so it cannot be taken over.
    """
    ranked = [trial for trial in _ranked(study) if "experiment" in trial.user_attrs]
    done = [trial for trial in ranked if trial.state == TrialState.COMPLETE]
    if not done:
        return ""
    lines = [
        f"the best by validation, {metric} {format_metric(done[0].value)}:",
        *(f"  {key}: {show_value(value)}" for key, value in done[0].params.items()),
        f"take it over, with its results: dvc exp apply {done[0].user_attrs['experiment']}",
        "see it beside the others: dvc exp show",
    ]
    return "\n".join(lines)


def failures(study: optuna.Study) -> list[str]:
    """Return a line for each trial that failed: its number, its values, and why."""
    failed = [trial for trial in _ranked(study) if trial.state == TrialState.FAIL]
    return [f"trial {trial.number}: {trial.user_attrs.get('reason', '-')}" for trial in failed]


def _ranked(study: optuna.Study) -> list[FrozenTrial]:
    ended = [t for t in study.trials if t.state in STATES and VOID not in t.user_attrs]
    order = list(STATES)
    return sorted(ended, key=lambda trial: (order.index(trial.state), -(trial.value or 0.0)))
