"""The files of a small run, and the contents of its report."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from pipeline.config.load import check_params
from pipeline.data import tables
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.figures.projection_figures import choose_coloring
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.health.findings import Finding
from pipeline.report.contents import Contents, RunFiles, read_contents
from pipeline.report.projection_points import describe_points
from pipeline.report.thumbnails import encode_atlas
from tests.helpers.dataset_tables import build_splits, write_dataset_tables
from tests.helpers.overlay import overlaid

METRICS = {
    "queries": 60502,
    "recall_at_1": 0.5475,
    "recall_at_1_low": 0.5125,
    "recall_at_1_high": 0.58125,
    "map": 0.341785,
    "map_low": 0.32561,
    "map_high": 0.358811,
    "cosine_negative": -0.03,
    "cosine_negative_low": -0.04,
    "cosine_negative_high": 0.0004,
    "knn_k": 5,
}
BASELINE = METRICS | {"recall_at_1": 0.235, "recall_at_1_low": 0.2, "recall_at_1_high": 0.26}
TRAINING = {"epochs": 2, "best_epoch": 1, "lr": 0.000134, "loss": 0.778689, "val_map": 0.7}
IMAGES = 24
NAMES = ("cup", "jug", "pot")
COLORS = [(10 * row, 250 - 10 * row, 90) for row in range(IMAGES)]


def small_contents(
    folder: Path,
    *,
    images: int = IMAGES,
    names: Sequence[str] = NAMES,
    groups: Sequence[str | None] = (None,) * 3,
) -> Contents:
    """Return the contents of a run, with images of one color and three classes.

    Its files are in `folder`. Every fourth image is for training, the others for test; each test
    image is a point.
    """
    files = write_run_files(folder, images=images)
    ids = image_ids(images)
    labels = [[row % 3] for row in range(images)]
    catalog = pd.DataFrame(
        {"image_id": ids, "labels": labels, "group": [groups[label] for [label] in labels]}
    )
    tested = [row for row in range(images) if row % 4]
    sample = ProjectionSample(
        image_ids=[ids[row] for row in tested],
        classes=[[names[row % 3]] for row in tested],
        groups=[groups[row % 3] for row in tested],
        total=len(tested),
    )
    rng = np.random.default_rng(0)
    layouts = {
        method: {
            axes: {
                model: rng.normal(size=(len(tested), axes)).astype(np.float32)
                for model in ("baseline", "finetuned")
            }
            for axes in ((2,) if method == "tsne" else (2, 3))
        }
        for method in ("pca", "tsne", "umap")
    }
    notes = {model: {2: "40% of the variance"} for model in ("baseline", "finetuned")}
    coloring = choose_coloring(sample.classes, sample.groups)
    thumbnails = [Image.new("RGB", (32, 32), COLORS[row % IMAGES]) for row in tested]
    return read_contents(
        check_params(overlaid({}), where="params.yaml"),
        files,
        catalog=catalog,
        class_names=dict(enumerate(names)),
        sample=sample,
        points=describe_points(sample, layouts, coloring, notes),
        findings=[
            Finding("exact duplicates", [ids[:2], ids[4:7]]),
            Finding("blank", []),
            Finding("blurred", [[ids[3]]]),
        ],
        atlas=encode_atlas(thumbnails),
    )


RECORD = TrainingRecord(
    "finetuned",
    "training made it better: map 0.700, the baseline 0.300",
    2,
    {"split.protocol": "official", "batches.pk.classes": 16},
)


def image_ids(images: int) -> list[str]:
    return [f"p{row:02d} <i>" for row in range(images)]


def write_run_files(
    folder: Path, *, images: int = IMAGES, intervals_over: str = "classes"
) -> RunFiles:
    """Write the files that a report reads, and return their paths."""
    for stem, values in (("baseline", BASELINE), ("finetuned", METRICS), ("train", TRAINING)):
        (folder / "metrics").mkdir(exist_ok=True)
        texts = {} if stem == "train" else {"intervals_over": intervals_over}
        (folder / f"metrics/{stem}.json").write_text(json.dumps(values | texts))
    splits = {
        image_id: "test" if row % 4 else "train" for row, image_id in enumerate(image_ids(images))
    }
    write_dataset_tables(folder, splits=build_splits(splits))
    for model in ("baseline", "finetuned"):
        classes = {
            "label": pa.array([0, 1, 2], pa.int32()),
            "queries": pa.array([6, 6, 6], pa.int64()),
            "map": [0.5, 0.25, 0.75] if model == "finetuned" else [0.1, 0.2, 0.3],
            "recall_at_1": [0.5, 0.5, 1.0],
        }
        path = folder / f"results/{model}/classes.parquet"
        tables.write_table(pa.table(classes), path, tables.CLASS_RESULTS)
    (folder / "rejected.csv").write_text("path,reason\na&b <script>.jpg,not a whole image\n")
    (folder / "history.csv").write_text("epoch,loss,val_recall_at_1\n1,2.0,0.5\n2,1.0,0.7\n")
    _write_curves(folder / "curves")
    (folder / "figures").mkdir()
    (folder / "model").mkdir()
    write_record(folder / "model", RECORD)
    Image.new("RGB", (900, 300), "#225588").save(folder / "figures/successes.png")
    return RunFiles(
        splits=folder / "splits.parquet",
        rejected=folder / "rejected.csv",
        model=folder / "model",
        metrics=folder / "metrics",
        results=folder / "results",
        history=folder / "history.csv",
        curves=folder / "curves",
        figures=folder / "figures",
    )


def _write_curves(curves: Path) -> None:
    curves.mkdir()
    (curves / "precision_recall.csv").write_text(
        "recall,baseline,finetuned\n0,0.4,0.7\n1,0.1,0.2\n"
    )
    (curves / "recall_at_k.csv").write_text("k,baseline,finetuned\n1,0.235,0.5475\n5,0.4,0.8\n")
    (curves / "precision_recall_classes.csv").write_text(
        "class,recall,baseline,finetuned\n"
        "cup,0,0.5,0.9\ncup,1,0.4,0.8\nNA,0,0.2,0.3\nNA,1,0.1,0.2\n"
    )
    for distance in ("cosine", "euclidean"):
        first = "1,0.2,0.5,0.4,0.9" if distance == "cosine" else "1,0.1,0.4,0.3,0.8"
        (curves / f"knn_accuracy_{distance}.csv").write_text(
            "k,baseline,finetuned,baseline_val,finetuned_val,baseline_chosen,finetuned_chosen\n"
            f"{first},0.2,0.5\n5,0.2,0.6,,,,\n"
        )
    (curves / "similarities.csv").write_text(
        "similarity,baseline_positive,baseline_negative,finetuned_positive,finetuned_negative\n"
        "0.1,0.0,1.5,0.1,2.0\n0.3,0.5,1.0,0.4,\n0.5,2.0,0.0,1.9,0.2\n"
    )
