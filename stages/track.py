"""Params, metrics, figures and report of this run of the DAG -> one finished run in MLflow."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config.schema import Params
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.json_files import read_json
from pipeline.data.lineage import digest_model
from pipeline.data.metrics_files import read_metrics_files, read_texts
from pipeline.data.tables import CATALOG, CLASSES, SPLITS, read_table
from pipeline.data.training_record import TrainingRecord, read_record
from pipeline.errors import UserError
from pipeline.tracking.tracker import Tracker
from stages import runner
from stages.mlflow_run import describe_run

# What a person needs beside the numbers to make them again, as far as it is there.
TO_REPEAT = (Path("params.yaml"), Path("dvc.lock"))
FETCHED = ("official", "url", "path")  # options of a dataset that say what to fetch
HEADLINES = {"recall_at_1": "recall@1", "precision_at_5": "precision@5", "map": "mAP"}
UNNAMED = ("baseline", "finetuned")  # models whose training, if any, is in train.json


def main(
    catalog: Annotated[Path, typer.Option(help="table of the images")],
    classes: Annotated[Path, typer.Option(help="table of the classes")],
    splits: Annotated[Path, typer.Option(help="table of the splits")],
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
    tracker = Tracker(describe_run(params, dataset, trained=bool(epochs)))
    tracker.open()
    for row in epochs:
        tracker.log_epoch(row)
    for stem, values in of_models.items():
        tracker.log_metrics({f"{stem}/{name}": value for name, value in values.items()})
        for name, text in read_texts(metrics / f"{stem}.json").items():  # a metric is a number
            tracker.tag(f"{stem}/{name}", text)
    tracker.log_metrics({f"last_seconds/{stage}": value for stage, value in runner.times().items()})
    counts = count_images(catalog, classes, splits)
    tracker.log_dataset(params.data.name, source=describe_source(params), counts=counts)
    tracker.log_artifacts([report, *(path for path in TO_REPEAT if path.is_file())])
    tracker.log_artifacts(sorted(figures.glob("*.png")), "plots")
    tracker.name_model(digest_model(model))
    tracker.describe(describe(record, of_models, params.models))
    for key, value in record.auto.items():
        tracker.tag(f"auto.{key}", str(value))
    for name in ("image_size", "trained_in"):
        tracker.tag(name, str(spec.get(name)))
    tracker.finish()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"{dataset}\n")


def describe_source(params: Params) -> str:
    """Return the folder or archive that the images are of; of what is rendered or fetched, that."""
    options = params.data.options
    if params.data.name == "products":
        return "rendered"
    if any(getattr(options, key, None) for key in FETCHED):
        return f"data.{params.data.name}, as fetched"
    return str(params.data.source)


def count_images(catalog: Path, classes: Path, splits: Path) -> dict[str, int]:
    """Return how many images, classes, and images of each role there are."""
    table = read_table(splits, SPLITS)
    roles = table["split"].to_pylist()
    return {
        "images": read_table(catalog, CATALOG).num_rows,
        "classes": read_table(classes, CLASSES).num_rows,
        "train": roles.count("train"),
        "val": roles.count("val"),
        "queries": sum(table["is_query"].to_pylist()),
        "gallery": sum(table["is_gallery"].to_pylist()),
    }


def describe(
    record: TrainingRecord, metrics: Mapping[str, Mapping[str, float]], models: list[str]
) -> str:
    """Return what came out, as Markdown: the headline metrics of each model, and which is used."""
    shown = [name for name in HEADLINES if any(name in metrics[model] for model in models)]
    rows = [["", *(HEADLINES[name] for name in shown)], ["---"] * (1 + len(shown))]
    for model in models:
        values = (metrics[model].get(name) for name in shown)
        rows.append([model, *("–" if each is None else f"{each:.3f}" for each in values)])
    if not shown:
        return f"Better on validation: **{record.use}**, {record.because}.\n"
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"Better on validation: **{record.use}**, {record.because}.\n\n{table}\n"


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
