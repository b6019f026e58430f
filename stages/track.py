"""Params, metrics, figures and report of this run of the DAG -> one finished run in MLflow."""

import csv
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.json_files import read_json
from pipeline.data.metrics_files import read_metrics_files, read_texts
from pipeline.data.training_record import read_record
from pipeline.errors import UserError
from pipeline.tracking import Tracker
from stages import runner
from stages.mlflow_run import describe_run

UNNAMED = ("baseline", "finetuned")  # models whose training, if any, is in train.json


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
    params = runner.load()
    # What the stages before wrote, and no other file.
    trained = [f"train-{model}" for model in params.models if model not in UNNAMED]
    stems = [*params.models, "train", *trained]
    of_models = read_metrics_files(metrics / f"{stem}.json" for stem in stems)
    dataset = read_dataset_fingerprint(catalog)
    spec = read_json(model / "model.json", dict[str, Any], what="a model's description")
    record, epochs = read_record(model), read_history(history)
    tracker = Tracker(describe_run(params, dataset))
    tracker.open()
    for row in epochs:
        tracker.log_epoch(row)
    for stem, values in of_models.items():
        tracker.log_metrics({f"{stem}/{name}": value for name, value in values.items()})
        for name, text in read_texts(metrics / f"{stem}.json").items():  # a metric is a number
            tracker.tag(f"{stem}/{name}", text)
    tracker.log_metrics({f"last_seconds/{stage}": value for stage, value in runner.times().items()})
    tracker.log_artifacts([*sorted(figures.glob("*.png")), report])
    for key, value in record.auto.items():
        tracker.tag(f"auto.{key}", str(value))
    for name in ("image_size", "trained_in"):
        tracker.tag(name, str(spec.get(name)))
    tracker.finish()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"{dataset}\n")


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the metrics of each epoch, without those that it does not have.

    Raises:
        UserError: it is no such table.
    """
    try:
        with path.open(encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        epochs = [{name: float(value) for name, value in row.items() if value} for row in rows]
        if not all(epoch.get("epoch", math.nan).is_integer() for epoch in epochs):
            raise ValueError("a row has no epoch")
        return epochs
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a history of a training ({error}); run: dvc checkout"
        ) from None


if __name__ == "__main__":
    runner.run(main, "track")
