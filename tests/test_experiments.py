"""Experiments on the whole DAG: which stages run again, and how a killed training continues."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.clone import (
    change_params,
    dvc,
    outputs,
    restore,
    running,
    skip_drawing,
    stages_run,
    wait_until,
)
from tests.helpers.processes import run_lookalike

FROM_TRAIN = ["train", "embed@finetuned", "index@finetuned", "evaluate@finetuned", "plot", "track"]


@pytest.fixture(scope="module")
def undrawn(clone: Path) -> Path:
    skip_drawing(clone)
    return clone


def test_another_loss_runs_train_and_the_stages_after_it(undrawn: Path) -> None:
    # Another size too: a training that makes nothing better gives the same model as before.
    ran = dvc(undrawn, "exp", "run", "-S", "loss.name=triplet", "-S", "head.dim=8")
    assert stages_run(ran) == FROM_TRAIN
    shown = dvc(undrawn, "exp", "show", "--csv", "--no-pager").stdout
    assert "triplet" in shown
    for command in ("metrics", "params"):
        diff = dvc(undrawn, command, "diff", "HEAD")
        assert diff.returncode == 0
        assert ("finetuned" if command == "metrics" else "loss.name") in diff.stdout
    pages = dvc(undrawn, "plots", "diff", "HEAD", "--out", "pages")
    assert pages.returncode == 0, pages.stderr
    assert "Training loss" in (undrawn / "pages/index.html").read_text()
    shutil.rmtree(undrawn / "pages")
    restore(undrawn)


def test_another_k_runs_evaluate_and_plot(undrawn: Path) -> None:
    ran = dvc(undrawn, "exp", "run", "-S", "evaluate.k=[1,2]")
    assert stages_run(ran) == ["evaluate@baseline", "evaluate@finetuned", "plot", "track"]
    restore(undrawn)


def test_a_variant_runs_what_is_of_it_alone(undrawn: Path) -> None:
    dvc(undrawn, "repro")  # the drawing that is skipped
    loss = {"name": "triplet", "triplet": {"margin": 0.2, "swap": False}}
    variants = {"other": {"loss": loss, "head": {"dim": 8}}}
    change_params(undrawn, {"models": ["baseline", "finetuned", "other"], "variants": variants})
    after = ["embed@other", "index@other", "evaluate@other"]
    assert stages_run(dvc(undrawn, "repro")) == ["variant@other", *after, "track"]
    assert stages_run(dvc(undrawn, "repro")) == []
    compared = run_lookalike(undrawn, "compare", "baseline", "finetuned", "other")
    assert compared.returncode == 0, compared.stderr
    assert "C: other (other of the working tree)" in compared.stdout

    # A block that it does not choose, and what others choose of what it replaces.
    change_params(undrawn, {"loss.triplet.margin": 0.3, "loss.arcface.scale": 3.0})
    assert stages_run(dvc(undrawn, "repro")) == []
    ran = dvc(undrawn, "exp", "run", "-S", "variants.other.head.dim=4")
    assert stages_run(ran) == ["variant@other", *after, "track"]
    shown = dvc(undrawn, "metrics", "show").stdout
    assert "metrics/train-other.json" in shown
    restore(undrawn)


@pytest.mark.long
def test_a_killed_training_continues_to_the_same_hashes(clone: Path) -> None:
    for attempt in range(5):
        kill_in_training(clone, learning_rate=0.003 + attempt / 10_000)
        if not (clone / "models/finetuned").exists():
            break  # else the training ended before it could be killed
    assert any((clone / "checkpoints").glob("*.pt"))
    assert not (clone / "models/finetuned").exists()
    assert stages_run(dvc(clone, "repro", "train"))[0] == "train"
    assert not any((clone / "checkpoints").glob("*"))
    resumed = outputs(clone)["train"]
    undisturbed = dvc(clone, "repro", "--force", "--no-run-cache", "--single-item", "train")
    assert stages_run(undisturbed) == ["train"]
    assert outputs(clone)["train"] == resumed
    restore(clone)


def kill_in_training(clone: Path, *, learning_rate: float) -> None:
    """Kill `dvc repro` when a checkpoint is there; DVC would skip a rate that it has run before."""
    change_params(clone, {"optimizer.adamw.lr": learning_rate, "train.epochs": 6})
    model = clone / "models/finetuned"
    shutil.rmtree(model, ignore_errors=True)
    with running(clone, sys.executable, "-m", "dvc", "repro"):
        wait_until(lambda: any((clone / "checkpoints").glob("*.pt")) or model.exists())
