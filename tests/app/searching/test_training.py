"""Which images a model was trained on: none of the baseline, and none where nothing was trained."""

import json
from pathlib import Path

import pytest

from app.searching.catalog import Catalog
from app.searching.training import find_trained_on, was_trained
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import label_metrics
from pipeline.data.training_record import TrainingRecord, write_record
from tests.helpers.paths import ROOT

TRAINED = "training made it better: map 0.9 on validation, the baseline 0.8"
TOO_FEW = "too few images to train on"  # as stages/train.py writes it


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    """A project with data alone."""
    (tmp_path / "data").symlink_to(searchable / "data")
    (tmp_path / "models/finetuned").mkdir(parents=True)
    (tmp_path / "metrics").mkdir()
    return tmp_path


def write_metrics(project: Path, *, fingerprint: str | None = None, **numbers: int) -> None:
    own = read_dataset_fingerprint(project / "data/catalog.parquet")
    labelled = label_metrics(numbers, dataset="folder", fingerprint=fingerprint or own)
    (project / "metrics/train.json").write_text(json.dumps(labelled))


@pytest.mark.parametrize("because", [TRAINED, TOO_FEW])
def test_the_epochs_of_the_metrics_tell_whether_a_model_was_trained(
    because: str, project: Path
) -> None:
    write_record(project / "models/finetuned", TrainingRecord("baseline", because, {}))
    for numbers, trained in (
        ({"epochs": 3, "best_epoch": 2}, True),
        ({"epochs": 3, "best_epoch": 0}, False),
        ({"epochs": 0}, False),
    ):
        write_metrics(project, **numbers)
        assert was_trained(project) is trained


@pytest.mark.parametrize(("because", "trained"), [(TRAINED, True), (TOO_FEW, False)])
def test_without_metrics_of_these_images_the_record_tells(
    because: str, trained: bool, project: Path
) -> None:
    assert not was_trained(project)  # no model
    write_record(project / "models/finetuned", TrainingRecord("baseline", because, {}))
    assert was_trained(project) is trained
    for best_epoch in (0, 2):
        write_metrics(project, fingerprint="0" * 16, epochs=3, best_epoch=best_epoch)
        assert was_trained(project) is trained


def test_only_the_trained_model_has_seen_training_images(project: Path) -> None:
    write_record(project / "models/finetuned", TrainingRecord("baseline", TRAINED, {}))
    catalog = Catalog(project)
    assert find_trained_on(project, "finetuned", catalog) == catalog.train_ids != frozenset()
    assert find_trained_on(project, "baseline", catalog) == frozenset()
    write_metrics(project, epochs=0)
    assert find_trained_on(project, "finetuned", catalog) == frozenset()


def test_the_train_stage_writes_the_text_that_is_looked_for() -> None:
    assert f'"{TOO_FEW}"' in (ROOT / "stages/train.py").read_text(encoding="utf-8")
