"""Train the baseline: models/finetuned, its history and the metrics of its best epoch."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pyarrow.csv
from typer import Option

from pipeline.config.schema import Params
from pipeline.data.files import written_whole
from pipeline.data.fingerprint import fingerprint_files, read_dataset_fingerprint
from pipeline.data.metrics_files import label_metrics
from pipeline.errors import UserError
from pipeline.evaluation.metrics_report import write_metrics
from pipeline.models.embedder import attach_head, load_embedder, save_embedder
from pipeline.tracking import Tracker
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.loop import TrainingResult, train
from pipeline.training.seeds import training_seed
from pipeline.training.trainer import EpochMetrics
from pipeline.training.training_data import read_training_data
from stages import runner
from stages.mlflow_run import describe_run
from stages.stage_code import fingerprint_code

logger = logging.getLogger(__name__)


def main(
    baseline: Annotated[Path, Option(help="directory of the model to train")],
    images: Annotated[Path, Option(help="directory of packed images")],
    catalog: Annotated[Path, Option(help="table of images: their labels")],
    splits: Annotated[Path, Option(help="table of splits: the train and validation images")],
    triplets: Annotated[Path, Option(help="table of mined triplets")],
    checkpoints: Annotated[Path, Option(help="directory of the state after each epoch")],
    out: Annotated[Path, Option(help="directory of the trained model to write")],
    metrics: Annotated[Path, Option(help="JSON of the best epoch's metrics to write")],
    history: Annotated[Path, Option(help="CSV of all epochs' metrics to write")],
) -> None:
    params = runner.load()
    data = read_training_data(images=images, catalog=catalog, splits=splits, triplets=triplets)
    if params.batches.options.mined and not len(data.triplets):
        raise UserError(
            f"{triplets}: found no triplets; batches.name {params.batches.name} needs some; "
            "run: dvc repro mine, or choose another batches.name"
        )
    model = attach_head(
        load_embedder(baseline), **params.head.model_dump(), seed=training_seed(params)
    )
    # The catalog holds the fingerprint of the images, so they need not be read here.
    inputs = fingerprint_files(_settings(params), [baseline, catalog, splits, triplets])
    checkpoint = Checkpoint(checkpoints, f"{inputs}-{fingerprint_code('train')}")
    tracker = Tracker(describe_run(params, read_dataset_fingerprint(catalog)))
    try:
        trained = train(
            model, data, params, checkpoint=checkpoint, on_epoch=_reporter(params, tracker)
        )
    except UserError:
        tracker.fail()
        raise
    if runner.is_first_process():
        labelled = label_metrics(
            _best_metrics(trained),
            dataset=params.data.name,
            fingerprint=read_dataset_fingerprint(catalog),
        )
        with written_whole(out, metrics, history) as unfinished:
            save_embedder(trained.model, unfinished[0])
            write_metrics(unfinished[1], labelled)
            pyarrow.csv.write_csv(pyarrow.Table.from_pylist(trained.history), unfinished[2])
        checkpoint.discard()
        tracker.pause()


def _reporter(params: Params, tracker: Tracker) -> Callable[[EpochMetrics], None]:
    """Return what each epoch's metrics are passed to: it logs a line and a step in MLflow."""
    if not runner.is_first_process():
        return lambda _: None
    tracker.open()
    shown = ("loss", f"val_{params.train.monitor}", "val_recall_at_1")

    def report(row: EpochMetrics) -> None:
        shown_metrics = "  ".join(f"{name} {row[name]:.4f}" for name in dict.fromkeys(shown))
        logger.info("epoch %d/%d  %s", row["epoch"], params.train.epochs, shown_metrics)
        tracker.log_epoch(row)

    return report


def _settings(params: Params) -> str:
    sections = {"head", "loss", "miner", "batches", "optimizer", "scheduler", "train"}
    included = sections | {"seed", "bits", "launch"}
    return params.model_dump_json(include=included) + params.index.distance


def _best_metrics(trained: TrainingResult) -> dict[str, float]:
    best = trained.history[trained.best_epoch - 1]
    values: dict[str, float] = {"epochs": len(trained.history), "best_epoch": trained.best_epoch}
    return values | {name: round(value, 6) for name, value in best.items() if name != "epoch"}


if __name__ == "__main__":
    runner.run(main, "train")
