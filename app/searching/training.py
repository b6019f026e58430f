"""What training did: which images a model has seen, and so finds well."""

from collections.abc import Set
from pathlib import Path

from app.searching.catalog import Catalog
from pipeline.data.training_record import RECORD_FILE, read_record

TRAINED_MODEL = "finetuned"


def find_trained_on(root: Path, model: str, catalog: Catalog) -> Set[str]:
    """Return the image_ids that `model` was trained on: none of the baseline, and none where
    nothing was trained."""
    return catalog.train_ids if model == TRAINED_MODEL and was_trained(root) else frozenset()


def was_trained(root: Path) -> bool:
    """Return whether the fine-tuned model of the project at `root` is of an epoch of training.

    Where there were too few images, or where no epoch was better, it is the baseline, with a head.
    """
    folder = root / "models" / TRAINED_MODEL
    return (folder / RECORD_FILE).is_file() and read_record(folder).best_epoch > 0
