"""All stages on real COCO images with many labels: mined by labels, trained, measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.tables import CATALOG, CLASSES, TRIPLETS, read_table
from tests.helpers.paths import SHARED
from tests.helpers.whole_dag import run_dag

ARCHIVE = SHARED / "datasets/tiny_coco.tar"
PARAMS: dict[str, Any] = {
    "data.name": "coco",
    "data.source": str(ARCHIVE),
    "data.coco.year": 2017,
    "split.protocol": "official",  # as auto, but it trains with fewer than 20 validation queries
    "split.val_fraction": 0.4,
    "backbone.image_size": 32,
    "mine.method": "labels",
    "head.name": "linear",
    "mine.per_anchor": 2,
    "loss.name": "triplet",
    "batches.name": "triplets",
    "batches.triplets.batch_size": 24,
    "head.dim": 16,
    "train.epochs": 1,
    "evaluate.neighbors": 8,
}

pytestmark = [
    pytest.mark.dag,
    pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not here"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages were run on these images."""
    return run_dag(tmp_path_factory.mktemp("coco"), PARAMS)


def test_images_have_all_their_labels(project: Path) -> None:
    catalog = read_table(project / "data/catalog.parquet", CATALOG).to_pandas()
    assert set(catalog["source_split"]) == {"train", "query+gallery"}
    assert catalog["labels"].map(len).max() > 3
    names = read_table(project / "data/classes.parquet", CLASSES)["name"].to_pylist()
    assert "person" in names


def test_triplets_share_labels_or_none(project: Path) -> None:
    catalog = read_table(project / "data/catalog.parquet", CATALOG).to_pandas()
    labels = {i: set(of) for i, of in zip(catalog["image_id"], catalog["labels"], strict=True)}
    triplets = read_table(project / "data/triplets.parquet", TRIPLETS).to_pandas()
    assert len(triplets) > 40
    overlapping = 0
    for row in triplets.itertuples():
        assert len(labels[row.anchor] & labels[row.positive]) == row.shared > 0
        apart = not (labels[row.anchor] | labels[row.positive]) & labels[row.negative]
        overlapping += not apart
    assert overlapping <= len(triplets) / 10  # only where no image is disjoint


def test_metrics_count_all_labels(project: Path) -> None:
    for model in ("baseline", "finetuned"):
        metrics = json.loads((project / f"metrics/details/{model}.json").read_text())
        assert 0 < metrics["macro_map"] < 1
        assert 0 < metrics["map_low"] <= metrics["map"] <= metrics["map_high"] < 1
        assert 0 <= metrics["knn_accuracy"] <= 1


def test_plain_batches_train_by_shared_labels(tmp_path: Path) -> None:
    plain = {"batches.name": "random", "batches.random.batch_size": 24, "loss.name": "supcon"}
    folder = run_dag(tmp_path, PARAMS | plain, until="models/finetuned")
    assert len(read_table(folder / "data/triplets.parquet", TRIPLETS)) == 0
    assert 0 < json.loads((folder / "metrics/details/train.json").read_text())["val_map_at_r"] < 1


def test_labels_alone_are_enough_to_mine(tmp_path: Path) -> None:
    folder = run_dag(tmp_path, PARAMS | {"data.coco.images": False}, until="data/triplets.parquet")
    assert len(read_table(folder / "data/triplets.parquet", TRIPLETS)) > 40
