"""The train stage: what it writes of its best epoch, and which checkpoint it goes on from."""

import csv
import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from mlflow import MlflowClient

from pipeline.data.joins import read_labels, read_vectors_of
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import SPLITS, TRIPLETS, read_table, write_table
from pipeline.data.training_record import read_record
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.models.embed_images import embed_images
from pipeline.models.embedder import load_embedder, save_embedder
from pipeline.training.checkpoints import Checkpoint
from stages import train
from stages.stage_code import fingerprint_code
from tests.helpers.clone import change_params
from tests.helpers.paths import ROOT
from tests.helpers.searchable import build

PARAMS: dict[str, Any] = {
    "seed": 5,  # whose split and training have the best epoch neither first nor last
    "split.val_fraction": 0.5,
    "split.val_by": "image",
    "head.name": "linear",
    "head.init": "random",
    "loss.name": "contrastive",
    "batches.pk": {"classes": 2, "per_class": 2},
    "optimizer.adamw.head_lr": None,
    "optimizer.adamw.lr": 0.05,
    "train.epochs": 4,
    "train.freeze": "none",
    "train.patience": None,
    "train.workers": 0,
    "train.precision": "fp32",
}
pytestmark = pytest.mark.slow
TORCHRUN = {"RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost"}
MARK = 123.0  # a loss that no training has


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose training is complete."""
    folder = build(tmp_path_factory.mktemp("trained") / "project", **PARAMS)
    none = pa.schema(TRIPLETS.columns).empty_table()
    write_table(none, folder / "data/triplets.parquet", TRIPLETS)
    run(folder)
    return folder


@pytest.fixture(scope="module")
def unfinished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project, whose disk failed after the training; its checkpoint has the loss MARK."""
    copy = tmp_path_factory.mktemp("unfinished") / "project"
    shutil.copytree(project, copy)
    (copy / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(copy, metrics="file/train.json")
    (checkpoint,) = copy.glob("checkpoints/*.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["trained"]["history"][1]["loss"] = MARK
    torch.save(state, checkpoint)
    return copy


def run(project: Path, *, metrics: str = "metrics/train.json") -> None:
    with chdir(project):
        train.main(
            baseline=Path("models/baseline"),
            embeddings=Path("embeddings/baseline"),
            images=Path("data/images"),
            catalog=Path("data/catalog.parquet"),
            splits=Path("data/splits.parquet"),
            triplets=Path("data/triplets.parquet"),
            checkpoints=Path("checkpoints"),
            out=Path("models/finetuned"),
            metrics=Path(metrics),
            headline=Path("headline/train.json"),
            history=Path("plots/train_history.csv"),
        )


def read_history(project: Path) -> list[dict[str, float]]:
    with (project / "plots/train_history.csv").open() as opened:
        rows = list(csv.DictReader(opened))
        return [{name: float(text) for name, text in row.items() if text} for row in rows]


def test_the_headline_is_a_few_of_the_metrics(project: Path) -> None:
    metrics = json.loads((project / "metrics/train.json").read_text())
    headline = json.loads((project / "headline/train.json").read_text())
    names = ["best_epoch", "loss", "val_recall_at_1", "val_map", "baseline_val_map", "use"]
    assert headline == {name: metrics[name] for name in names}


def test_the_metrics_are_those_of_the_best_epoch(project: Path) -> None:
    history = read_history(project)
    metrics = json.loads((project / "metrics/train.json").read_text())
    monitored = [row["val_map_at_r"] for row in history]
    best = monitored.index(max(monitored))
    assert 0 < best < len(history) - 1
    assert (metrics.pop("epochs"), metrics.pop("best_epoch")) == (4, best)
    assert metrics.pop("dataset") == "products"
    assert metrics.pop("fingerprint")
    assert 0 < metrics.pop("baseline_val_map") < 1
    assert metrics.pop("use") == read_record(project / "models/finetuned").use
    assert metrics == {k: round(v, 6) for k, v in history[best].items() if k != "epoch"}


def test_the_history_begins_with_the_model_before_training(project: Path) -> None:
    first, *epochs = read_history(project)
    assert first["epoch"] == 0
    assert not {"loss", "lr"} & first.keys()
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]


def test_a_head_alone_is_trained_without_reading_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = {"crop": None, "hflip": 0.0, "jitter": None, "rand_augment": None, "erase": 0.0}
    params = PARAMS | {"train.freeze": "backbone", "train.augment": still}
    project = build(tmp_path / "project", **params)
    none = pa.schema(TRIPLETS.columns).empty_table()
    write_table(none, project / "data/triplets.parquet", TRIPLETS)
    with monkeypatch.context() as patched:
        patched.setattr(PackedImages, "read", None)
        run(project)
    history, model = read_history(project), load_embedder(project / "models/finetuned")
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert (model.spec.head_input, model.spec.trained_in) == ("embedding", "fp32")
    # What is written embeds images as the head was validated.
    metrics = json.loads((project / "metrics/train.json").read_text())
    splits = read_table(project / "data/splits.parquet", SPLITS)
    ids = splits.filter(pc.equal(splits["split"], "val"))["image_id"].to_pylist()
    labels = read_labels(project / "data/catalog.parquet", ids, ids_from=project)
    vectors = embed_images(
        model,
        PackedImages(project / "data/images"),
        ids,
        batch_size=8,
        precision=torch.float32,
        workers=0,
        device=torch.device("cpu"),
    )
    every = np.ones(len(ids), bool)
    measured = measure(vectors, labels, every, every, k=(1,), distance="cosine")
    assert measured.means["map"] == pytest.approx(metrics["val_map"], abs=1e-4)


def test_a_head_is_not_trained_on_the_embeddings_of_another_model(tmp_path: Path) -> None:
    still = {"crop": None, "hflip": 0.0, "jitter": None, "rand_augment": None, "erase": 0.0}
    params = PARAMS | {"train.freeze": "backbone", "train.augment": still}
    project = build(tmp_path / "project", **params)
    none = pa.schema(TRIPLETS.columns).empty_table()
    write_table(none, project / "data/triplets.parquet", TRIPLETS)
    model = load_embedder(project / "models/baseline")
    weight = next(model.parameters())
    weight.data += 1
    save_embedder(model, project / "models/baseline")
    with pytest.raises(UserError) as error:
        run(project)
    assert str(error.value) == (
        "embeddings/baseline: made by another model than models/baseline; run: dvc repro embed, "
        "or take both from one run: dvc checkout"
    )


def test_the_models_are_compared_by_embeddings_that_are_made_alike(project: Path) -> None:
    """The baseline's are not those of its table, which `embed.hflip` would change."""
    splits = read_table(project / "data/splits.parquet", SPLITS)
    ids = splits.filter(pc.equal(splits["split"], "val"))["image_id"].to_pylist()
    table = project / "embeddings/baseline"
    vectors = read_vectors_of(table, ids, ids_from=project / "data/splits.parquet")
    labels = read_labels(project / "data/catalog.parquet", ids, ids_from=table)
    every = np.ones(len(ids), dtype=bool)
    expected = measure(vectors, labels, every, every, k=(1,), distance="cosine").means["map"]
    metrics = json.loads((project / "metrics/train.json").read_text())
    assert metrics["baseline_val_map"] == pytest.approx(expected, abs=1e-4)
    record = read_record(project / "models/finetuned")
    assert f"the baseline {expected:.3f}; recall@1 " in record.because
    assert f"; {len(ids)} validation queries" in record.because


def test_the_record_says_what_auto_chose(project: Path) -> None:
    record = read_record(project / "models/finetuned")
    assert record.auto == {"backbone.image_size": 32}


def test_a_complete_training_leaves_no_checkpoint_and_a_finished_run(project: Path) -> None:
    """DVC skips `track` where the training gave the same bits as before."""
    assert not list(project.glob("checkpoints/*"))
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lookalike")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.status, tracked.data.tags["lookalike.complete"]) == ("FINISHED", "false")


@pytest.mark.parametrize("resumed", [True, False])
def test_an_unfinished_training_is_resumed_or_begins_anew(
    resumed: bool, unfinished: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(unfinished, copy)
    change_params(copy, {"plot.points": 7} if resumed else {"loss.contrastive.neg_margin": 0.3})
    run(copy)
    assert (read_history(copy)[1]["loss"] == MARK) is resumed
    assert not list(copy.glob("checkpoints/*"))


@pytest.mark.parametrize(
    ("changes", "resumed"),
    [
        ({}, True),
        ({"train.seed": 8}, False),
        ({"launch": "another"}, True),
        ({"processes": 2}, False),
        ({"bits": "fast"}, False),
    ],
    ids=str,
)
def test_a_checkpoint_is_of_the_same_settings_alone(
    changes: dict[str, Any],
    resumed: bool,
    unfinished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stops where the training would begin."""
    copy = tmp_path / "project"
    shutil.copytree(unfinished, copy)
    for name, value in {"WORLD_SIZE": changes.get("processes", 1), **TORCHRUN}.items():
        monkeypatch.setenv(name, str(value))
    change_params(copy, {key: value for key, value in changes.items() if key != "processes"})
    loaded = []

    def stop(*arguments: Any) -> None:
        loaded.append(next(each for each in arguments if isinstance(each, Checkpoint)).load())
        raise KeyboardInterrupt

    monkeypatch.setattr("stages.train._train", stop)
    with pytest.raises(KeyboardInterrupt):
        run(copy)
    assert (loaded[0] is not None) is resumed


def test_a_checkpoint_is_resumed_by_the_same_code_alone(unfinished: Path) -> None:
    (checkpoint,) = unfinished.glob("checkpoints/*.pt")
    assert checkpoint.stem.endswith(f"-{fingerprint_code('train')}")


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("stages/train.py", True),
        ("pipeline/training/loop.py", True),
        ("pipeline/data/files.py", True),
        ("pipeline/report/html_page.py", False),
        ("pipeline/training/__pycache__/loop.pyc", False),
    ],
)
def test_the_code_of_a_stage_is_what_dvc_yaml_lists(
    file: str, changed: bool, tmp_path: Path
) -> None:
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    before, all_before = fingerprint_code("train", root=tmp_path), fingerprint_code(root=tmp_path)
    assert before == fingerprint_code("train", root=ROOT)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    with (tmp_path / file).open("a") as out:
        out.write("# a comment\n")
    assert (fingerprint_code("train", root=tmp_path) != before) is changed
    assert (fingerprint_code(root=tmp_path) != all_before) is ("__pycache__" not in file)
