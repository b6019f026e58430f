"""Evaluate one model's retrieval: metrics with intervals, neighbors, and failures."""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.data.files import written_whole
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.joins import read_embedded_split, read_labels
from pipeline.data.metrics_files import POSTPROCESSING, label_metrics, tell_of_other_datasets
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import write_table
from pipeline.evaluation.evaluate_model import evaluate_model
from pipeline.evaluation.metrics_report import choose_headline, write_metrics
from pipeline.health.perceptual_hashes import hash_images
from stages.cluster import open_workers
from stages.runner import load, run


def main(
    model: Annotated[str, Option(help="name of the model: baseline, finetuned")],
    embeddings: Annotated[Path, Option(help="table of embeddings")],
    splits: Annotated[Path, Option(help="table of splits: queries and gallery")],
    catalog: Annotated[Path, Option(help="table of images: their labels")],
    images: Annotated[Path, Option(help="directory of packed images")],
    index: Annotated[Path, Option(help="directory of the gallery's index")],
    metrics: Annotated[Path, Option(help="JSON of all metrics to write")],
    headline: Annotated[Path, Option(help="JSON of a few of them to write, for dvc metrics")],
    results: Annotated[Path, Option(help="directory of tables to write")],
) -> str:
    params = load()
    embedded = read_embedded_split(embeddings, splits)
    labels = read_labels(catalog, embedded.ids, ids_from=splits)
    fingerprint = read_dataset_fingerprint(catalog)
    hashes = partial(hash_images, read_image=PackedImages(images).decode)
    with open_workers(params, results.parent) as workers:
        evaluation = evaluate_model(embedded, labels, index, hashes, params, workers=workers)
    labelled = label_metrics(evaluation.metrics, dataset=params.data.name, fingerprint=fingerprint)
    words = evaluation.metrics.get(POSTPROCESSING)
    about = {POSTPROCESSING: str(words)} if words else None
    with written_whole(metrics, headline, results) as (details, few, unfinished):
        for name, (table, kind) in evaluation.tables.items():
            write_table(table, unfinished / f"{name}.parquet", kind, metadata=about)
        write_metrics(details, labelled)
        write_metrics(few, choose_headline(labelled, k=params.evaluate.k))
    tell_of_other_datasets(metrics)
    return model


if __name__ == "__main__":
    run(main, "evaluate")
