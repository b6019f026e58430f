"""The stage `track` on the files of a run: it logs those of the pipeline and no others."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from pipeline.config.load import read_params
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.errors import UserError
from stages.track import describe_source, read_history
from tests.helpers.dataset_tables import (
    build_catalog,
    build_classes,
    build_splits,
    write_dataset_tables,
)
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_stage

OPTIONS = "--catalog catalog.parquet --classes classes.parquet --splits splits.parquet "
OPTIONS += "--metrics metrics --history history.csv --figures figures "
OPTIONS += "--report report.html --model models/finetuned --out tracked.txt"


def test_the_metrics_of_the_pipeline_are_logged_and_another_file_is_left(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_dataset_tables(
        tmp_path,
        catalog=build_catalog({"p0": [0], "p1": [1]}),
        classes=build_classes(["cup", "jug"]),
        splits=build_splits({"p0": "train", "p1": "test"}),
    )
    for folder in ("metrics", "figures", "models/finetuned"):
        (tmp_path / folder).mkdir(parents=True)
    for number, stem in enumerate(("baseline", "finetuned", "train")):
        (tmp_path / f"metrics/{stem}.json").write_text(json.dumps({"map": number / 4}))
    (tmp_path / "metrics/mine.json").write_text("not of the pipeline")
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")
    (tmp_path / "report.html").write_text("<p>")
    spec = {"trained_in": "fp32", "image_size": 96}
    (tmp_path / "models/finetuned/model.json").write_text(json.dumps(spec))
    (tmp_path / "models/finetuned/model.safetensors").write_bytes(b"weights")
    record = TrainingRecord("finetuned", "it is a test", 3, {"split.protocol": "official"})
    write_record(tmp_path / "models/finetuned", record)

    (tmp_path / "logs/times").mkdir(parents=True)
    (tmp_path / "logs/times/embed_baseline.json").write_text('{"seconds": 1.5}')

    ran = run_stage(tmp_path, "track", *OPTIONS.split())

    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "tracked.txt").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lookalike")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    maps = {name: value for name, value in run.data.metrics.items() if name.endswith("/map")}
    assert maps == {"baseline/map": 0, "finetuned/map": 0.25, "train/map": 0.5}
    assert run.data.metrics["last_seconds/embed_baseline"] == 1.5
    assert run.data.tags["auto.split.protocol"] == "official"
    assert (run.data.tags["image_size"], run.data.tags["trained_in"]) == ("96", "fp32")
    assert run.info.run_name == "tf_efficientnet_lite0 multi_similarity #1"
    assert run.data.params["loss.multi_similarity.alpha"] == "2.0"
    assert not any(name.startswith("loss.triplet") for name in run.data.params)
    assert run.data.tags["mlflow.note.content"].splitlines() == [
        "Better on validation: **finetuned**, it is a test.",
        "",
        "|  | mAP |",
        "| --- | --- |",
        "| baseline | 0.000 |",
        "| finetuned | 0.250 |",
    ]
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("products", "0123456789abcdef")
    assert json.loads(logged.dataset.profile) == {
        **{"images": 2, "classes": 2, "train": 1, "val": 0, "queries": 1, "gallery": 1}
    }
    artifacts = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"params.yaml", "report.html"}  # there is no dvc.lock

    (tmp_path / "history.csv").write_bytes(b"epoch,loss\n1,0.5\n,0.4\n")
    with pytest.raises(UserError, match=r"not a history of a training \(a row has no epoch\); "):
        read_history(tmp_path / "history.csv")
    (tmp_path / "history.csv").write_bytes(b"epoch,loss\n1,half\n")
    ran = run_stage(tmp_path, "track", *OPTIONS.split())
    assert (ran.returncode, ran.stderr) == (
        2,
        "track: history.csv: not a history of a training (could not convert string to float: "
        "'half'); run: dvc checkout\n",
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "rendered"),
        ({"data__name": "folder", "data__source": "/photos"}, "/photos"),
        ({"data__name": "cub", "data__source": "/cub.tgz"}, "/cub.tgz"),
        ({"data__name": "cub", "data__cub__official": True}, "data.cub, as fetched"),
        ({"data__name": "huggingface", "data__huggingface__path": "me/birds"},
         "data.huggingface, as fetched"),
    ],
)  # fmt: skip
def test_the_source_of_the_images_is_what_was_read(
    changes: dict[str, object], expected: str, tmp_path: Path
) -> None:
    with (tmp_path / "params.yaml").open("w") as out:
        YAML().dump(overlaid(changes), out)
    assert describe_source(read_params(tmp_path / "params.yaml")) == expected
