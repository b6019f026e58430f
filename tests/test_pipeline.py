"""The whole DAG as a person runs it: real DVC, in a clone of its own, on a shrunken config."""

import csv
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import read_yaml
from tests.helpers.clone import (
    change_params,
    dvc,
    free_port,
    restore,
    running,
    runs,
    stages_run,
    wait_until,
)
from tests.helpers.paths import ROOT


def read_metrics(place: Path, model: str) -> dict[str, float]:
    loaded: dict[str, float] = json.loads((place / f"metrics/details/{model}.json").read_text())
    return loaded


def test_a_run_leaves_metrics_curves_and_images(clone: Path) -> None:
    for model in ("baseline", "finetuned"):
        assert (
            0
            <= read_metrics(clone, model)["recall_at_1_low"]
            <= read_metrics(clone, model)["recall_at_1"]
        )
    assert read_metrics(clone, "train")["epochs"] == 3
    with (clone / "plots/train_history.csv").open() as opened:
        assert [row["epoch"] for row in csv.DictReader(opened)] == ["0", "1", "2", "3"]
    assert {path.name for path in (clone / "plots/figures").glob("*.png")} >= {
        "successes.png",
        "failures.png",
        "near_duplicates.png",
        "confusions.png",
        "projection_umap.png",
    }


def test_a_run_is_one_run_in_mlflow_with_its_params_metrics_and_artifacts(clone: Path) -> None:
    (run,) = [run for run in runs(clone) if "dvc_exp_name" not in run.data.tags]
    assert run.data.params["loss.multi_similarity.alpha"] == "2.0"
    assert "loss.supcon.temperature" not in run.data.params
    assert (
        run.data.metrics["finetuned/recall_at_1"] == read_metrics(clone, "finetuned")["recall_at_1"]
    )
    assert run.data.metrics["baseline/map"] == read_metrics(clone, "baseline")["map"]
    assert run.data.tags["baseline/intervals_over"] == "classes"
    assert run.data.tags["mlflow.source.git.commit"]
    assert run.data.tags["dataset_fingerprint"]
    assert list((clone / "mlruns").rglob("artifacts/report.html"))


def test_the_report_shows_the_values_of_the_metrics(clone: Path) -> None:
    page = (clone / "plots/report.html").read_text()
    for model in ("baseline", "finetuned"):
        value = read_metrics(clone, model)["recall_at_1"]
        assert f'data-metric="{model}/recall_at_1"><b>{value:.3f}</b>' in page
    assert (clone / "plots/projector/sprite.png").is_file()


def test_the_commands_that_show_results_show_them(clone: Path) -> None:
    shown = dvc(clone, "metrics", "show")
    assert shown.returncode == 0
    assert "metrics/finetuned.json" in shown.stdout
    assert len(shown.stdout.splitlines()[0].split()) <= 16  # columns, of three files together
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
    command += ["--workers", "1"]  # not four, each of which imports all of MLflow
    with running(clone, *command):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=lookalike"
        )
        found: list[str] = []

        def answers() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - of our own server
                    found.append(json.load(response)["experiment"]["artifact_location"])
            except OSError:
                return False
            return True

        wait_until(answers)
    assert found == [(clone / "mlruns").as_uri()]


def test_a_second_repro_does_nothing(clone: Path) -> None:
    again = dvc(clone, "repro")
    assert stages_run(again) == []
    assert "Data and pipelines are up to date." in again.stdout


def test_an_unused_block_runs_nothing(clone: Path) -> None:
    change_params(clone, {"loss.triplet.margin": 0.3})
    assert stages_run(dvc(clone, "repro")) == []
    restore(clone)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"loss.name": "suprecon"},
            # DVC's own line: it looks for the block of that name before any stage runs.
            "Parameters 'loss.suprecon' are missing from 'params.yaml'.",
        ),
        (
            {"train.epochs": "ten"},
            "params.yaml: train.epochs: found 'ten' (str); allowed: a whole number",
        ),
        (
            {"batches.pk.per_class": 9},
            "split: batches.pk.per_class: found 9; the largest class of the train split has 4 "
            "images; allowed: auto, or at most 4",
        ),
        (
            {"evaluate.k": [500]},
            "evaluate.k: found 500; the gallery has 72 images",
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
    lines = (ran.stdout + ran.stderr).splitlines()
    assert sum(line in text for text in lines) == 1, ran.stderr
    assert not any("Traceback" in text for text in lines)
    restore(clone)
