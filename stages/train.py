"""Train the baseline: models/finetuned, its history and the metrics of its best epoch."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.csv
from typer import Option

from pipeline.config.schema import Params
from pipeline.data.arrays import Vectors
from pipeline.data.chosen import read_chosen, read_untrained
from pipeline.data.embeddings import read_lineage
from pipeline.data.files import written_whole
from pipeline.data.fingerprint import fingerprint_files, read_dataset_fingerprint
from pipeline.data.joins import read_vectors_of
from pipeline.data.lineage import check_lineage, digest_model
from pipeline.data.metrics_files import label_metrics, tell_of_other_datasets
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.errors import UserError
from pipeline.evaluation.metrics_report import MetricsReport, choose_headline, write_metrics
from pipeline.models.devices import find_device, make_deterministic
from pipeline.models.embedder import Embedder, attach_head, load_embedder, save_embedder
from pipeline.options import AUTO
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.inputs import embed_validation, trains_on_embeddings
from pipeline.training.loop import HISTORY, TrainingResult, train
from pipeline.training.model_choice import ModelChoice, choose_model
from pipeline.training.processes import count_processes
from pipeline.training.seeds import training_seed
from pipeline.training.trainer import EpochMetrics, prepare_processes
from pipeline.training.training_data import (
    Embedded,
    TrainingData,
    has_enough_to_train,
    read_training_data,
)
from pipeline.training.validation_metrics import VALIDATION_K
from stages import runner
from stages.mlflow_run import describe_run
from stages.stage_code import fingerprint_code

BASELINE = "baseline"
UNTRAINED = "the split has no images for training and validation"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What the stage writes, but for the names of the dataset and the values of earlier stages."""

    model: Embedder
    record: TrainingRecord
    metrics: dict[str, Any]
    history: list[EpochMetrics] = field(default_factory=list)


def main(
    baseline: Annotated[Path, Option(help="directory of the model to train")],
    embeddings: Annotated[Path, Option(help="table of the baseline's embeddings")],
    images: Annotated[Path, Option(help="directory of packed images")],
    catalog: Annotated[Path, Option(help="table of images: their labels")],
    splits: Annotated[Path, Option(help="table of splits: the train and validation images")],
    triplets: Annotated[Path, Option(help="table of mined triplets")],
    checkpoints: Annotated[Path, Option(help="directory of the state after each epoch")],
    out: Annotated[Path, Option(help="directory of the trained model to write")],
    metrics: Annotated[Path, Option(help="JSON of the best epoch's metrics to write")],
    headline: Annotated[Path, Option(help="JSON of a few of them to write, for dvc metrics")],
    history: Annotated[Path, Option(help="CSV of all epochs' metrics to write")],
    variant: Annotated[str | None, Option(help="of params.yaml, if the model is one")] = None,
) -> str | None:
    params = runner.load(variant)
    model, fingerprint = load_embedder(baseline), read_dataset_fingerprint(catalog)
    tracker = Tracker(describe_run(params, fingerprint, variant=variant))
    # The catalog holds the fingerprint of the images, so they need not be read here.
    inputs = fingerprint_files(_settings(params), [baseline, embeddings, catalog, splits, triplets])
    checkpoint = Checkpoint(checkpoints, f"{inputs}-{fingerprint_code('train')}")
    with tracker.followed():
        if has_enough_to_train(splits):
            data = read_training_data(
                images=images, catalog=catalog, splits=splits, triplets=triplets
            )
            vectors_of = partial(read_vectors_of, embeddings, ids_from=splits)
            lineage = read_lineage(embeddings)
            if trains_on_embeddings(params, model, lineage):
                digest = digest_model(baseline)
                check_lineage(
                    lineage, model=digest, source=baseline, path=embeddings, stage="embed"
                )
                if runner.is_first_process():
                    logger.info("the head is trained on the embeddings of the baseline")
                embedded = Embedded(vectors_of(data.train_ids), vectors_of(data.val.ids))
                data = replace(data, embedded=embedded)
            done = _train(model, data, params, vectors_of, checkpoint, tracker)
        else:
            because = f"nothing was trained: {read_untrained(splits) or UNTRAINED}"
            record = TrainingRecord(BASELINE, because, best_epoch=0, auto={})
            done = Trained(model, record, {"epochs": 0})
        if not runner.is_first_process():
            return variant
        if variant is not None:
            done = _rename(done, variant)
        logger.info(
            "better on validation is the model %s: %s", done.record.use, done.record.because
        )
        auto = read_chosen(splits) | done.record.auto
        if params.backbone.image_size == AUTO:
            auto["backbone.image_size"] = model.spec.image_size
        labels = label_metrics(done.metrics, dataset=params.data.name, fingerprint=fingerprint)
        whole = replace(done, record=replace(done.record, auto=auto), metrics=labels)
        few = choose_headline(labels, k=VALIDATION_K)
        _write(whole, few, out, metrics, headline, history)
    checkpoint.discard()
    if variant is not None and done.history:  # `track` finishes the run of the others
        tracker.finish()
    tell_of_other_datasets(metrics)
    return variant


def _rename(done: Trained, name: str) -> Trained:
    """Return what was trained under the name of a variant, not as `finetuned`."""
    if done.record.use == BASELINE:
        return done
    record = replace(done.record, use=name)
    return replace(done, record=record, metrics=done.metrics | {"use": name})


def _write(
    done: Trained, few: MetricsReport, out: Path, metrics: Path, headline: Path, history: Path
) -> None:
    with written_whole(out, metrics, headline, history) as unfinished:
        save_embedder(done.model, unfinished[0])
        write_record(unfinished[0], done.record)
        write_metrics(unfinished[1], done.metrics)
        write_metrics(unfinished[2], few)
        pyarrow.csv.write_csv(pa.Table.from_pylist(done.history, HISTORY), unfinished[3])


def _train(
    baseline: Embedder,
    data: TrainingData,
    params: Params,
    vectors_of: Callable[[list[str]], Vectors],
    checkpoint: Checkpoint,
    tracker: Tracker,
) -> Trained:
    if params.batches.options.mined and not len(data.triplets):
        raise UserError(
            f"no triplets were mined; batches.name {params.batches.name} needs some; "
            "run: dvc repro mine, or choose another batches.name"
        )
    make_deterministic()
    model = attach_head(
        baseline,
        **params.head.model_dump(),
        seed=training_seed(params),
        vectors=vectors_of(data.train_ids),
        head_input="embedding" if params.train.freeze == "backbone" else "features",
    )
    prepare_processes(model, data, params)
    if data.embedded is not None:
        before = data.embedded.val
    else:
        before = embed_validation(baseline, data, params, device=find_device())
    on_epoch = _reporter(params, tracker)
    trained = train(model, data, params, checkpoint=checkpoint, on_epoch=on_epoch)
    choice = choose_model(
        before, trained.val_vectors, data.val, distance=params.index.distance, seed=params.seed
    )
    val_map = round(choice.gain.after[0], 6)
    record = TrainingRecord(
        choice.use, choice.describe(), trained.best_epoch, trained.auto, val_map
    )
    return Trained(trained.model, record, _best_metrics(trained, choice), trained.history)


def _reporter(params: Params, tracker: Tracker) -> Callable[[EpochMetrics], None]:
    """Return what each epoch's metrics are passed to: it logs a line and a step in MLflow."""
    if not runner.is_first_process():
        return lambda _: None
    tracker.open()
    tracker.watch_system()
    shown = ("loss", f"val_{params.train.monitor}", "val_recall_at_1")

    def report(row: EpochMetrics) -> None:
        known = [name for name in dict.fromkeys(shown) if name in row]
        shown_metrics = "  ".join(f"{name} {row[name]:.4f}" for name in known)
        logger.info("epoch %d/%d  %s", row["epoch"], params.train.epochs, shown_metrics)
        tracker.log_epoch(row)

    return report


def _settings(params: Params) -> str:
    sections = {"mine", "head", "loss", "miner", "batches", "optimizer", "scheduler", "train"}
    included = sections | {"seed", "bits"}
    settings = params.model_dump_json(include=included)
    return f"{settings}{params.index.distance} {count_processes()}"


def _best_metrics(trained: TrainingResult, choice: ModelChoice) -> dict[str, Any]:
    best = trained.history[trained.best_epoch]
    values: dict[str, Any] = {"epochs": len(trained.history) - 1, "best_epoch": trained.best_epoch}
    values |= {name: round(value, 6) for name, value in best.items() if name != "epoch"}
    return values | {"baseline_val_map": round(choice.gain.before[0], 6), "use": choice.use}


if __name__ == "__main__":
    runner.run(main, "train")
