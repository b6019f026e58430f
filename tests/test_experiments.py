"""Experiments on the whole DAG: what runs again, what a kill leaves, what a queue tracks."""

import shutil
import sys
from pathlib import Path

from tests.clone import (
    change_params,
    dvc,
    outputs,
    restore,
    running,
    runs,
    stages_run,
    wait_until,
)

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


def test_queued_experiments_are_tracked_in_the_projects_own_mlflow(clone: Path) -> None:
    before = len(runs(clone))
    for margin in ("0.1", "0.2"):
        queued = ("exp", "run", "--queue", "-S", "loss.name=contrastive")
        assert dvc(clone, *queued, "-S", f"loss.contrastive.pos_margin={margin}").returncode == 0
    assert dvc(clone, "queue", "start", "-j", "2").returncode == 0
    wait_until(lambda: "Running" not in (s := dvc(clone, "queue", "status").stdout)
               and "Queued" not in s, seconds=400)  # fmt: skip
    status = dvc(clone, "queue", "status").stdout
    assert status.count("Success") == 2, status
    new = runs(clone)[: len(runs(clone)) - before]
    margins = {run.data.params["loss.contrastive.pos_margin"] for run in new}
    assert margins == {"0.1", "0.2"}
    assert {run.info.run_name for run in new} == {run.data.tags["dvc_exp_name"] for run in new}
