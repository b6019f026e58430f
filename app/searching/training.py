"""What training did: which images a model has seen, and so finds well."""

from collections.abc import Set
from pathlib import Path

from app.searching.catalog import Catalog
from pipeline.data.training_record import has_record, read_record


def find_trained_on(root: Path, model: str, catalog: Catalog) -> Set[str]:
    """Return the image_ids that `model` was trained on: none of the baseline, and none where
    nothing was trained."""
    return catalog.train_ids if was_trained(root, model) else frozenset()


def was_trained(root: Path, model: str) -> bool:
    """Return whether a model of the project at `root` is of an epoch of training.

    Where there were too few images, or where no epoch was better, it is the baseline, with a head.
    """
    folder = root / "models" / model
    return has_record(folder) and read_record(folder).best_epoch > 0
