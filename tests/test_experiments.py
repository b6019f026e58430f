"""Experiments on the whole DAG: what runs again, what a kill leaves, what sweeps and tuning do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from app.recipes import read_recipe
from app.runs import read_origin
from app.tunes import open_tuning
from tests.clone import (
    change_params,
    dvc,
    git,
    kill_all_in,
    outputs,
    restore,
    running,
    runs,
    stages_run,
    wait_until,
)
from tests.processes import environment

FROM_TRAIN = ["train", "embed@finetuned", "index@finetuned", "evaluate@finetuned", "plot", "track"]


def test_another_loss_runs_train_and_what_follows(clone: Path) -> None:
    ran = dvc(clone, "exp", "run", "-S", "loss.name=triplet")
    assert stages_run(ran) == FROM_TRAIN
    shown = dvc(clone, "exp", "show", "--csv", "--no-pager").stdout
    assert "triplet" in shown
    for command in ("metrics", "params"):
        diff = dvc(clone, command, "diff", "HEAD")
        assert diff.returncode == 0
        assert ("finetuned" if command == "metrics" else "loss.name") in diff.stdout
    pages = dvc(clone, "plots", "diff", "HEAD", "--out", "pages")
    assert pages.returncode == 0, pages.stderr
    assert "Recall at k" in (clone / "pages/index.html").read_text()
    shutil.rmtree(clone / "pages")
    restore(clone)


def test_another_k_runs_evaluate_and_plot(clone: Path) -> None:
    ran = dvc(clone, "exp", "run", "-S", "evaluate.k=[1,2]")
    assert stages_run(ran) == ["evaluate@baseline", "evaluate@finetuned", "plot", "track"]
    restore(clone)


def test_training_killed_and_run_again_ends_in_the_same_hashes(clone: Path) -> None:
    # A setting of its own: what was run before, DVC would take from its cache.
    change_params(clone, {"optimizer.adamw.lr": 0.003})
    with running(clone, sys.executable, "-m", "dvc", "repro"):
        wait_until(lambda: any((clone / "checkpoints").glob("*.pt")))
    assert not (clone / "models/finetuned").exists()
    assert stages_run(dvc(clone, "repro", "train"))[0] == "train"
    assert not any((clone / "checkpoints").glob("*"))
    resumed = outputs(clone)["train"]
    undisturbed = dvc(clone, "repro", "--force", "--no-run-cache", "--single-item", "train")
    assert stages_run(undisturbed) == ["train"]
    assert outputs(clone)["train"] == resumed
    restore(clone)


def lookalike(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = lookalike(*arguments)
    return subprocess.run(
        command, cwd=place, env=environment(), capture_output=True, text=True, check=False
    )


def run_and_kill(place: Path, *arguments: str) -> str:
    """Run a command until its first experiment has begun, kill all there, and return what it said.

    Nothing of what was not in git may have changed.
    """
    (place / "README.md").write_text("a change that is not committed\n")
    before, earlier = tree(place), begun(place)
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(lookalike(*arguments), cwd=place, env=environment(), **pipes) as killed:
        try:
            wait_until(lambda: bool(begun(place) - earlier), seconds=400)
        finally:
            kill_all_in(place)
        said = killed.stderr.read() if killed.stderr else ""
    assert tree(place) == before
    return said


def begun(place: Path) -> set[Path]:
    """Return a file of each experiment that has begun, those that were killed earlier included."""
    return set(place.glob(".dvc/tmp/exps/tmp*/data/splits.parquet"))


def tree(place: Path) -> tuple[str, str]:
    return git(place, "status", "--porcelain"), (place / "params.yaml").read_text()


def tracked(clone: Path) -> dict[str, Any]:
    """Return DVC's name -> MLflow's run, of the project's own database."""
    found = {run.data.tags.get("dvc_exp_name"): run for run in runs(clone)}
    assert all(run.info.run_name == name for name, run in found.items() if name)
    return found


def test_a_sweep_that_was_killed_goes_on_and_names_what_failed(clone: Path) -> None:
    (clone / "recipes/tiny.yaml").write_text(
        "# Tiny\ntrain: {epochs: 1}\n"
        "sweep: {batches.pk.classes: [4, 1000], evaluate.triplets: [1, 3]}\n"
    )
    said = run_and_kill(clone, "sweep", "tiny")
    assert said.count(": queued\n") == 4, said
    before = tree(clone)
    ran = run(clone, "sweep", "tiny", "--jobs", "2")
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count(": queued\n") == 1, ran.stderr  # the one that was killed
    assert ran.stderr.count(": queued before\n") == 3, ran.stderr
    assert tree(clone) == before

    header, *rows = [line.split() for line in ran.stdout.splitlines()[:5]]
    assert header[:3] == ["classes", "triplets", "val_map_at_r"]
    assert [row[:2] for row in rows] == [["4", "1"], ["4", "3"], ["1000", "1"], ["1000", "3"]]
    assert [row[-1] == "failed" for row in rows] == [False, False, True, True]
    for triplets in (1, 3):
        line = f"lookalike: classes=1000 triplets={triplets}: train: batches.pk.classes: found 1000"
        assert line in ran.stderr

    names = [name for name in dvc(clone, "exp", "list", "--name-only").stdout.split()
             if name.startswith("tiny_")]  # fmt: skip
    found = tracked(clone)
    assert {found[name].data.params["evaluate.triplets"] for name in names} == {"1", "3"}
    status = dvc(clone, "queue", "status").stdout
    assert (status.count("Success"), status.count("Failed"), status.count("tiny_")) == (2, 2, 4)
    restore(clone)


def test_tuning_that_was_killed_goes_on_and_ends_early_what_is_behind(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "recipes/tuned.yaml").write_text(
        "# Tuned\ntune:\n  trials: 7\n  space:\n    train.epochs: [1, 300]\n"
        "    optimizer.adamw.lr: {low: 0.001, high: 0.01}\n"
    )
    study = begin_study(clone, monkeypatch, recipe="tuned", epochs=(300, 1, 1))
    said = run_and_kill(clone, "tune", "tuned")
    assert said.count(": queued\n") == 1, said
    before = tree(clone)
    ran = run(clone, "tune", "tuned", "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    assert tree(clone) == before

    pruned, *complete = study.trials[4:]
    assert pruned.state == TrialState.PRUNED
    assert 2 <= len(pruned.intermediate_values) < 300
    assert [trial.state for trial in complete] == [TrialState.COMPLETE] * 2
    best = max(complete, key=lambda trial: trial.value)
    assert f"dvc exp apply {best.user_attrs['experiment']}" in ran.stdout
    shown = dvc(clone, "exp", "show", "--csv", "--no-pager").stdout
    found = tracked(clone)
    for trial in complete:
        name = trial.user_attrs["experiment"]
        assert name in shown
        assert found[name].info.status == "FINISHED"
        assert (
            float(found[name].data.params["optimizer.adamw.lr"])
            == trial.params["optimizer.adamw.lr"]
        )
        figures = json.loads(git(clone, "show", f"{trial.user_attrs['commit']}:metrics/train.json"))
        assert trial.value == figures["val_map_at_r"]
    killed = found[pruned.user_attrs["experiment"]]
    assert (killed.info.status, killed.data.tags["lookalike.complete"]) == ("KILLED", "killed")
    assert "Running" not in dvc(clone, "queue", "status").stdout
    restore(clone)


def begin_study(
    clone: Path, monkeypatch: pytest.MonkeyPatch, *, recipe: str, epochs: tuple[int, ...]
) -> optuna.Study:
    """Return a study in which four trials were perfect, and these epochs are to be tried next."""
    monkeypatch.chdir(clone)
    params = Path("params.yaml")
    (clone / "README.md").write_text("a change that is not committed\n")
    with open_tuning(
        read_recipe(Path("recipes"), recipe), read_origin(params), params=params, tell=print
    ) as tuning:
        study = tuning.study
        space = dict(tuning.space.dimensions)
    perfect = dict.fromkeys(range(1, 301), 1.0)
    for rate in (0.002, 0.003, 0.004, 0.005):
        values = {"train.epochs": 300, "optimizer.adamw.lr": rate}
        study.add_trial(create_trial(
            value=1.0, params=values, distributions=space, intermediate_values=perfect
        ))  # fmt: skip
    for number, each in enumerate(epochs):
        study.enqueue_trial({"train.epochs": each, "optimizer.adamw.lr": 0.006 + number / 1000})
    return study
