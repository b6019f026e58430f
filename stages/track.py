"""Params, metrics, figures and report of this run of the DAG -> one finished run in MLflow."""

import csv
import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import read_metrics_files, read_texts
from pipeline.data.training_record import read_record
from pipeline.tracking import Tracker
from stages import runner
from stages.mlflow_run import describe_run

METRICS = ("baseline", "finetuned", "train")  # what the stages before wrote, and no other file


def main(
    catalog: Annotated[Path, typer.Option(help="table of the images")],
    metrics: Annotated[Path, typer.Option(help="directory of <model>.json and train.json")],
    history: Annotated[Path, typer.Option(help="CSV of the training, one row an epoch")],
    figures: Annotated[Path, typer.Option(help="directory of the PNG to log")],
    report: Annotated[Path, typer.Option(help="HTML page to log")],
    model: Annotated[Path, typer.Option(help="directory of the trained model")],
    out: Annotated[Path, typer.Option(help="text file to write: the dataset's fingerprint")],
) -> None:
    """Log the run to MLflow; if that fails, log a warning and go on."""
    of_models = read_metrics_files(metrics / f"{stem}.json" for stem in METRICS)
    dataset = read_dataset_fingerprint(catalog)
    tracker = Tracker(describe_run(runner.load(), dataset))
    tracker.open()
    with history.open() as opened:
        for row in csv.DictReader(opened):
            tracker.log_epoch({name: float(value) for name, value in row.items() if value})
    for stem, values in of_models.items():
        tracker.log_metrics({f"{stem}/{name}": value for name, value in values.items()})
        for name, text in read_texts(metrics / f"{stem}.json").items():  # a metric is a number
            tracker.tag(f"{stem}/{name}", text)
    tracker.log_metrics({f"last_seconds/{stage}": value for stage, value in runner.times().items()})
    tracker.log_artifacts([*sorted(figures.glob("*.png")), report])
    spec = json.loads((model / "model.json").read_text())
    for key, value in read_record(model).auto.items():
        tracker.tag(f"auto.{key}", str(value))
    tracker.tag("image_size", str(spec["image_size"]))
    tracker.tag("trained_in", str(spec["trained_in"]))
    tracker.finish()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"{dataset}\n")


if __name__ == "__main__":
    runner.run(main, "track")
