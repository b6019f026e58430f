"""Tuning in DVC's real queue: killed, continued, and ending early a trial that is behind."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from app.experiments.queued_runs import read_origin
from app.experiments.recipes import read_recipe
from app.experiments.tuner import open_tuning
from tests.helpers.clone import dvc, git, skip_drawing
from tests.helpers.queue_runs import list_tracked_runs, read_tree, run, run_and_kill


def test_tuning_that_was_killed_continues_and_ends_a_bad_trial_early(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_drawing(clone)
    (clone / "recipes/tuned.yaml").write_text(
        "# Tuned\ntune:\n  trials: 6\n  space:\n    train.epochs: [1, 1000]\n"
        "    optimizer.adamw.lr: {low: 0.001, high: 0.01}\n"
    )
    study = begin_study(clone, monkeypatch, recipe="tuned", epochs=(1000, 1))
    log = run_and_kill(clone, "tune", "tuned")
    assert log.count(": queued\n") == 1, log
    before = read_tree(clone)
    ran = run(clone, "tune", "tuned", "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    assert read_tree(clone) == before

    pruned, *complete = study.trials[4:]
    assert pruned.state == TrialState.PRUNED
    assert 2 <= len(pruned.intermediate_values) < 1000
    assert [trial.state for trial in complete] == [TrialState.COMPLETE]
    best = max(complete, key=lambda trial: trial.value)
    assert f"dvc exp apply {best.user_attrs['experiment']}" in ran.stdout
    shown = dvc(clone, "exp", "show", "--csv", "--no-pager").stdout
    found = list_tracked_runs(clone)
    for trial in complete:
        name = trial.user_attrs["experiment"]
        assert name in shown
        assert found[name].info.status == "FINISHED"
        assert found[name].data.tags["mlflow.parentRunId"]
        assert (
            float(found[name].data.params["optimizer.adamw.lr"])
            == trial.params["optimizer.adamw.lr"]
        )
        metrics = json.loads(
            git(clone, "show", f"{trial.user_attrs['commit']}:metrics/details/train.json")
        )
        assert trial.value == metrics["val_map_at_r"]
    killed = found[pruned.user_attrs["experiment"]]
    assert (killed.info.status, killed.data.tags["lookalike.complete"]) == ("KILLED", "killed")
    assert "Running" not in dvc(clone, "queue", "status").stdout


def begin_study(
    clone: Path, monkeypatch: pytest.MonkeyPatch, *, recipe: str, epochs: tuple[int, ...]
) -> optuna.Study:
    """Return a study with four perfect trials, which will try `epochs` next."""
    monkeypatch.chdir(clone)
    params = Path("params.yaml")
    (clone / "README.md").write_text("a change that is not committed\n")
    with open_tuning(
        read_recipe(Path("recipes"), recipe), read_origin(params), params=params
    ) as tuning:
        study = tuning.study
        space = dict(tuning.space.dimensions)
    perfect = dict.fromkeys(range(1, 1001), 1.0)
    for rate in (0.002, 0.003, 0.004, 0.005):
        values = {"train.epochs": 1000, "optimizer.adamw.lr": rate}
        study.add_trial(create_trial(
            value=1.0, params=values, distributions=space, intermediate_values=perfect
        ))  # fmt: skip
    for number, each in enumerate(epochs):
        study.enqueue_trial({"train.epochs": each, "optimizer.adamw.lr": 0.006 + number / 1000})
    return study
