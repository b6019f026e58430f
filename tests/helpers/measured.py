"""The metrics files of a model of the small project, as `evaluate` writes them."""

import json
import shutil
from pathlib import Path

from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import label_metrics

HEADLINE = {"recall_at_1": 0.865, "map": 0.6958, "index_recall_at_10": 1.0}
DETAILS = {
    "queries": 20,
    "gallery": 20,
    "intervals_over": "classes",
    "recall_at_1": 0.865,
    "recall_at_1_low": 0.8202,
    "recall_at_1_high": 0.9098,
    "map": 0.6958,
    "map_low": 0.6395,
    "map_high": 0.7521,
    "index_recall_at_10": 1.0,
}


def copy_measured(project: Path, to: Path) -> Path:
    """Return `to`, a copy of a small project, whose fine-tuned model was measured."""
    shutil.copytree(project, to)
    write_metrics(to, "finetuned")
    return to


def write_metrics(root: Path, model: str, *, fingerprint: str | None = None, **more: str) -> None:
    """Write metrics/<model>.json and its details, of the images of the project at `root`.

    fingerprint: of other images. more: texts among the details.
    """
    found = fingerprint or read_dataset_fingerprint(root / "data/catalog.parquet")
    details = label_metrics(DETAILS | more, dataset="products", fingerprint=found)
    (root / "metrics/details").mkdir(parents=True, exist_ok=True)
    (root / f"metrics/{model}.json").write_text(json.dumps(HEADLINE))
    (root / f"metrics/details/{model}.json").write_text(json.dumps(details))
