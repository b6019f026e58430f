"""Which images a model was trained on: none of the baseline, and none where nothing was trained."""

from pathlib import Path

import pytest

from app.searching.catalog import Catalog
from app.searching.training import find_trained_on, was_trained
from pipeline.data.training_record import TrainingRecord, write_record


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    """A project with data alone."""
    (tmp_path / "data").symlink_to(searchable / "data")
    (tmp_path / "models/finetuned").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("use", ["baseline", "finetuned"])
def test_only_the_trained_model_has_seen_training_images(use: str, project: Path) -> None:
    catalog = Catalog(project)
    assert not was_trained(project, "finetuned")  # no model
    for best_epoch, seen in ((0, frozenset[str]()), (2, catalog.train_ids)):
        record = TrainingRecord(use, "it is a test", best_epoch, {})
        write_record(project / "models/finetuned", record)
        assert was_trained(project, "finetuned") == bool(best_epoch)
        assert find_trained_on(project, "finetuned", catalog) == seen
        assert find_trained_on(project, "baseline", catalog) == frozenset()
    assert catalog.train_ids
