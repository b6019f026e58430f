"""Studies: the trials of a search, which optuna keeps in tune.db, and their table."""

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState

from app.experiments.text_tables import align_columns, format_metric, format_short
from pipeline.config.dotted_keys import show_value

STORAGE = Path("tune.db")
COMPLETE_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING = 4, 2
# The attribute of a trial that does not count: its point was tried before, or never sampled.
VOID = "void"
# As the table names them, the best first.
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def open_study(name: str) -> optuna.Study:
    """Return the study `name` of tune.db, new or with its earlier trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{STORAGE}",
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=MedianPruner(COMPLETE_BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING),
    )


def tabulate(study: optuna.Study, metric: str, short: Mapping[str, str]) -> str:
    """Return the ended trials as a table, the best first.

    metric: the name of their values. short: dotted key -> the name of its column.
    """
    rows = [[*short.values(), metric, "epochs", "state", "experiment"]]
    for trial in _rank_trials(study):
        values = [format_short(trial.params[key]) if key in trial.params else "-" for key in short]
        attributes = trial.user_attrs
        epochs = str(attributes.get("epochs", attributes.get("pruned", "-")))
        commit = attributes.get("commit", "-")[:7]
        rows.append([*values, format_metric(trial.value), epochs, STATES[trial.state], commit])
    return align_columns(rows)


def describe_best(study: optuna.Study, metric: str) -> str:
    """Return the best trial's values as lines of params, and how to use it; "" without one.

    A trial that the user has added by optuna has no experiment, so it is not one to use.
    """
    done = [
        trial
        for trial in _rank_trials(study)
        if trial.state == TrialState.COMPLETE and "experiment" in trial.user_attrs
    ]
    if not done:
        return ""
    best = done[0]
    lines = [
        f"the best by validation, {metric} {format_metric(best.value)}:",
        *(f"  {key}: {show_value(value)}" for key, value in best.params.items()),
        f"to use it, with its results: dvc exp apply {best.user_attrs['experiment']}",
        "to see all: dvc exp show",
    ]
    return "\n".join(lines)


def list_failures(study: optuna.Study) -> list[str]:
    """Return a line for each failed trial: its number, its values, and the reason."""
    failed = [trial for trial in _rank_trials(study) if trial.state == TrialState.FAIL]
    return [f"trial {trial.number}: {trial.user_attrs.get('reason', '-')}" for trial in failed]


def _rank_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the ended trials that count, the best first."""
    ended = [t for t in study.trials if t.state in STATES and VOID not in t.user_attrs]
    order = list(STATES)
    return sorted(ended, key=lambda trial: (order.index(trial.state), -(trial.value or 0.0)))
