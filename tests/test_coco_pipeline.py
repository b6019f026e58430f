"""The whole DAG on real COCO images with many labels: mined by labels, trained, measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.tables import CATALOG, CLASSES, TRIPLETS, read_table
from tests.helpers.clone import change_params, dvc, stages_run
from tests.helpers.paths import SHARED

ARCHIVE = SHARED / "datasets/tiny_coco.tar"
PARAMS: dict[str, Any] = {
    "data.name": "coco",
    "data.source": str(ARCHIVE),
    "data.coco.year": 2017,
    "split.protocol": "official",  # as auto, but it trains with fewer than 20 validation queries
    "split.val_fraction": 0.4,
    "backbone.image_size": 48,
    "mine.method": "labels",
    "head.name": "linear",
    "mine.per_anchor": 2,
    "loss.name": "triplet",
    "batches.name": "triplets",
    "batches.triplets.batch_size": 8,
    "head.dim": 16,
    "train.epochs": 2,
    "train.workers": 0,
    "evaluate.bootstrap": 100,
    "evaluate.neighbors": 8,
    "plot": {"points": 100, "rows": 3, "columns": 4},
}

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not here")


def test_images_have_all_their_labels(clone: Path) -> None:
    catalog = read_table(clone / "data/catalog.parquet", CATALOG).to_pandas()
    assert set(catalog["source_split"]) == {"train", "query+gallery"}
    assert catalog["labels"].map(len).max() > 3
    names = read_table(clone / "data/classes.parquet", CLASSES)["name"].to_pylist()
    assert "person" in names


def test_triplets_share_labels_or_none(clone: Path) -> None:
    catalog = read_table(clone / "data/catalog.parquet", CATALOG).to_pandas()
    labels = {i: set(of) for i, of in zip(catalog["image_id"], catalog["labels"], strict=True)}
    triplets = read_table(clone / "data/triplets.parquet", TRIPLETS).to_pandas()
    assert len(triplets) > 40
    overlapping = 0
    for row in triplets.itertuples():
        assert len(labels[row.anchor] & labels[row.positive]) == row.shared > 0
        apart = not (labels[row.anchor] | labels[row.positive]) & labels[row.negative]
        overlapping += not apart
    assert overlapping <= len(triplets) / 10  # only where no image is disjoint


def test_metrics_count_all_labels(clone: Path) -> None:
    for model in ("baseline", "finetuned"):
        metrics = json.loads((clone / f"metrics/{model}.json").read_text())
        assert 0 < metrics["macro_map"] < 1
        assert 0 < metrics["map_low"] <= metrics["map"] <= metrics["map_high"] < 1
        assert 0 <= metrics["knn_accuracy"] <= 1


def test_plain_batches_train_by_shared_labels(clone: Path) -> None:
    changes = ("batches.name=random", "batches.random.batch_size=24", "loss.name=supcon")
    ran = dvc(clone, "exp", "run", "train", *(part for each in changes for part in ("-S", each)))
    assert stages_run(ran) == ["split", "mine", "train"]
    assert len(read_table(clone / "data/triplets.parquet", TRIPLETS)) == 0
    assert 0 < json.loads((clone / "metrics/train.json").read_text())["val_map_at_r"] < 1


def test_labels_alone_are_enough_to_mine(clone: Path) -> None:
    changes = {"data.coco.images": False, "batches.name": "triplets", "loss.name": "triplet"}
    change_params(clone, changes)
    ran = dvc(clone, "repro", "mine")
    assert stages_run(ran)[-1] == "mine"
    assert len(read_table(clone / "data/triplets.parquet", TRIPLETS)) > 40
