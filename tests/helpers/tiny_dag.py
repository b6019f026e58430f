"""A repository with the project's files but a DAG of seconds: its results are random numbers.

Its stages are `python -m tests.helpers.tiny_dag data | train | evaluate MODEL`. The file of a model
is the number by which its average precision is above that of the baseline.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from ruamel.yaml import YAML

from pipeline.data import tables
from tests.helpers.clone import commit, dvc, git
from tests.helpers.dataset_tables import (
    build_catalog,
    build_classes,
    build_splits,
    write_dataset_tables,
)
from tests.helpers.packer import Packer

CLASSES, EACH = 22, 4
IDS = [f"{c:02}/{n}.png" for c in range(CLASSES) for n in range(EACH)]
PARAMS = """\
seed: 7
split: {left_out: 0}
loss: {name: plain}
train: {seed: null, workers: 2}
"""
DAG = """\
stages:
  data:
    cmd: python -m tests.helpers.tiny_dag data
    params: [split]
    outs: [data/catalog.parquet, data/classes.parquet, data/splits.parquet, data/images]
  train:
    cmd: python -m tests.helpers.tiny_dag train
    deps: [data/images, code.py]
    params: [seed, train, loss.name]
    outs: [models/finetuned]
  evaluate_baseline:
    cmd: python -m tests.helpers.tiny_dag evaluate baseline
    deps: [data/images]
    outs: [results/baseline]
  evaluate_finetuned:
    cmd: python -m tests.helpers.tiny_dag evaluate finetuned
    deps: [data/images, models/finetuned]
    outs: [results/finetuned]
"""
GAIN = {"plain": 0.3, "same": 0.3, "good": 0.45}


def make_project(place: Path) -> Path:
    """Make `place` a repository whose DAG ran once, with four experiments, and return it.

    seed8: another training; good: a better loss; split: another gallery; waiting: still queued.
    """
    place.mkdir()
    (place / "params.yaml").write_text(PARAMS)
    (place / "dvc.yaml").write_text(DAG)
    (place / "code.py").touch()
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "config", "user.email", "a@b.c")
    git(place, "config", "user.name", "a")
    commit(place, "before DVC")
    run(place, "init", "--quiet")
    run(place, "config", "core.analytics", "false")
    run(place, "repro", "--quiet")
    commit(place, "first run")
    for name, setting in (
        ("seed8", "train.seed=8"),
        ("good", "loss.name=good"),
        ("split", "split.left_out=2"),
    ):
        run(place, "exp", "run", "--name", name, "--set-param", setting)
        git(place, "checkout", "--quiet", "--force", "HEAD")
    run(place, "checkout", "--quiet", "--force")
    run(place, "exp", "run", "--queue", "--name", "waiting", "--set-param", "train.seed=9")
    return place


def run(place: Path, *arguments: str) -> None:
    ran = dvc(place, *arguments)
    assert ran.returncode == 0, ran.stderr[-4000:]


def write_data(place: Path) -> None:
    """Write tables and images: all are queries; all but `split.left_out` a class, gallery too."""
    left_out = YAML(typ="safe").load(place / "params.yaml")["split"]["left_out"]
    labels = np.repeat(np.arange(CLASSES), EACH)
    data = place / "data"
    write_dataset_tables(
        data,
        catalog=build_catalog({i: [label] for i, label in zip(IDS, labels, strict=True)}),
        classes=build_classes([f"class {c}" for c in range(CLASSES)]),
        splits=build_splits(dict.fromkeys(IDS, "test"), gallery=IDS[left_out:]),
    )
    writer = Packer(data / "images")
    for image_id, label in zip(IDS, labels, strict=True):
        encoded = io.BytesIO()
        Image.new("RGB", (8, 8), (label * 11, 80, 160)).save(encoded, "PNG")
        writer.add(image_id, encoded.getvalue())
    writer.close()


def write_model(place: Path) -> None:
    """Write the gain of the loss, plus a seed effect that no test over queries can tell from it."""
    params = YAML(typ="safe").load(place / "params.yaml")
    seed = params["train"]["seed"] or params["seed"]
    (place / "models").mkdir(exist_ok=True)
    (place / "models/finetuned").write_text(str(GAIN[params["loss"]["name"]] + 0.02 * (seed - 7)))


def write_results(place: Path, model: str) -> None:
    gain = 0.0 if model == "baseline" else float((place / "models" / model).read_text())
    rng = np.random.default_rng(1)
    average = 0.3 + gain + rng.normal(0, 0.01, len(IDS))
    queries = {
        "image_id": IDS,
        "positives": pa.array([EACH - 1] * len(IDS), pa.int32()),
        "first_hit_rank": pa.array([1] * len(IDS), pa.int32()),
        "average_precision": average,
        "recall_at_1": (average > 0.5).astype(np.float64),
    }
    others = [(query, IDS[n - rank]) for n, query in enumerate(IDS) for rank in range(1, 7)]
    neighbors = {
        "query": [query for query, _ in others],
        "rank": pa.array([1, 2, 3, 4, 5, 6] * len(IDS), pa.int32()),
        "image_id": [neighbor for _, neighbor in others],
        "score": pa.array([0.5] * len(others), pa.float32()),
        "relevant": [query[:2] == neighbor[:2] for query, neighbor in others],
    }
    folder = place / "results" / model
    tables.write_table(pa.table(queries), folder / "queries.parquet", tables.QUERIES)
    tables.write_table(pa.table(neighbors), folder / "neighbors.parquet", tables.NEIGHBORS)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["data"]:
            write_data(Path())
        case ["train"]:
            write_model(Path())
        case ["evaluate", model]:
            write_results(Path(), model)
