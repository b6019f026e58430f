"""The whole DAG as a person runs it: real DVC, in a clone of its own, on a shrunken config."""

import csv
import json
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import read_yaml
from tests.clone import (
    ROOT,
    change_params,
    dvc,
    free_port,
    git,
    run_clone,
    running,
    stages_run,
    wait_until,
)

SMALL: dict[str, Any] = {
    "data.products": {"classes": 24, "pictures": 6, "size": 32},
    "split.val_fraction": 0.4,
    "backbone.image_size": 32,
    "head.dim": 16,
    "batches.pk": {"classes": 4, "pictures": 3},
    "train.epochs": 3,
    "evaluate.bootstrap": 100,
    "evaluate.neighbors": 8,
}
FROM_TRAIN = ["train", "embed@finetuned", "index@finetuned", "evaluate@finetuned", "plot", "track"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of this working tree, with small params, run once."""
    return run_clone(tmp_path_factory.mktemp("clone") / "lookalike", SMALL)


def runs(place: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lookalike")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def figures(place: Path, model: str) -> dict[str, float]:
    loaded: dict[str, float] = json.loads((place / f"metrics/{model}.json").read_text())
    return loaded


def outputs(place: Path) -> dict[str, Any]:
    """Return stage -> its outputs' hashes, as DVC recorded them."""
    lock = YAML(typ="safe").load((place / "dvc.lock").read_text())
    return {name: stage.get("outs") for name, stage in lock["stages"].items()}


def test_a_run_leaves_metrics_curves_and_pictures(clone: Path) -> None:
    for model in ("baseline", "finetuned"):
        assert 0 <= figures(clone, model)["recall_at_1_low"] <= figures(clone, model)["recall_at_1"]
    assert figures(clone, "train")["epochs"] == 3
    with (clone / "plots/train_history.csv").open() as opened:
        assert [row["epoch"] for row in csv.DictReader(opened)] == ["1", "2", "3"]
    assert {path.name for path in (clone / "plots/pictures").glob("*.png")} >= {
        "successes.png",
        "failures.png",
        "projection_umap.png",
        "training.png",
    }


def test_a_run_is_one_run_in_mlflow_with_all_that_it_was(clone: Path) -> None:
    (run,) = [run for run in runs(clone) if "dvc_exp_name" not in run.data.tags]
    assert run.data.params["loss.supcon.temperature"] == "0.1"
    assert run.data.metrics["finetuned/recall_at_1"] == figures(clone, "finetuned")["recall_at_1"]
    assert run.data.metrics["baseline/map"] == figures(clone, "baseline")["map"]
    assert run.data.metrics["last_seconds/embed_baseline"] > 0
    assert run.data.tags["git_commit"]
    assert run.data.tags["dataset_fingerprint"]
    assert (clone / "mlruns").is_dir()


def test_the_commands_that_show_results_show_them(clone: Path) -> None:
    shown = dvc(clone, "metrics", "show")
    assert shown.returncode == 0
    assert "metrics/finetuned.json" in shown.stdout
    drawn = dvc(clone, "plots", "show", "--out", "pages")
    assert drawn.returncode == 0, drawn.stderr
    page = (clone / "pages/index.html").read_text()
    shutil.rmtree(clone / "pages")
    plots = read_yaml(ROOT / "dvc.yaml")["plots"]
    titles = [next(iter(plot)) for plot in plots if isinstance(plot, dict)]
    assert all(title in page for title in [*titles, "successes.png", "projection_umap.png"])


def test_mlflow_ui_shows_the_run(clone: Path) -> None:
    port = free_port()
    command = ["mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port)]
    with running(clone, *command):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=lookalike"
        )
        found: list[str] = []

        def answers() -> bool:
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    found.append(json.load(answer)["experiment"]["artifact_location"])
            except OSError:
                return False
            return True

        wait_until(answers)
    assert found == [(clone / "mlruns").as_uri()]


def test_a_second_repro_does_nothing(clone: Path) -> None:
    again = dvc(clone, "repro")
    assert stages_run(again) == []
    assert "Data and pipelines are up to date." in again.stdout


def test_everything_is_the_same_to_the_bit_when_run_again(clone: Path) -> None:
    before = outputs(clone)
    assert dvc(clone, "repro", "--force", "--no-run-cache").returncode == 0
    assert outputs(clone) == before
    assert git(clone, "status", "--porcelain") == ""


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


def test_an_unused_block_runs_nothing(clone: Path) -> None:
    change_params(clone, {"loss.triplet.margin": 0.3})
    assert stages_run(dvc(clone, "repro")) == []
    restore(clone)


def restore(clone: Path) -> None:
    git(clone, "checkout", "--quiet", "--force", "HEAD")
    assert dvc(clone, "checkout", "--force", "--quiet").returncode == 0


def test_training_killed_and_run_again_ends_in_the_same_hashes(clone: Path) -> None:
    # A setting of its own: what was run before, DVC would take from its cache.
    change_params(clone, {"optimizer.adamw.lr": 0.003})
    with running(clone, sys.executable, "-m", "dvc", "repro"):
        wait_until(lambda: any((clone / "checkpoints").glob("*.pt")))
    assert not (clone / "models/finetuned").exists()
    assert stages_run(dvc(clone, "repro"))[0] == "train"
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


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"loss.name": "suprecon"},
            # DVC's own line, since it looks for the block of that name before a stage runs.
            "Parameters 'loss.suprecon' are missing from 'params.yaml'.",
        ),
        (
            {"train.epochs": "ten"},
            "params.yaml: train.epochs: found 'ten' (str); allowed: a whole number",
        ),
        (
            {"batches.pk.pictures": 9},
            "train: batches.pk.pictures: found 9; the largest training class has 6 pictures, "
            "allowed: at most 6",
        ),
        (
            {"evaluate.k": [1, 500]},
            "evaluate.k: found 500; the gallery has 72 pictures",
        ),
    ],
    ids=["loss name", "type", "K", "k"],
)
def test_a_mistake_is_one_line_and_a_status(
    changes: dict[str, Any], line: str, clone: Path
) -> None:
    change_params(clone, changes)
    ran = dvc(clone, "repro")
    assert ran.returncode != 0
    told = (ran.stdout + ran.stderr).splitlines()
    assert sum(line in text for text in told) == 1, ran.stderr
    assert not any("Traceback" in text for text in told)
    restore(clone)
