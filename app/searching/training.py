"""What training did: which images a model has seen, and so finds well."""

from collections.abc import Set
from pathlib import Path

from app.searching.catalog import Catalog
from app.searching.current_metrics import read_current_metrics
from pipeline.data.training_record import RECORD_FILE, read_record

TRAINED_MODEL = "finetuned"


def find_trained_on(root: Path, model: str, catalog: Catalog) -> Set[str]:
    """Return the image_ids that `model` was trained on: none of the baseline, and none where
    nothing was trained."""
    return catalog.train_ids if model == TRAINED_MODEL and was_trained(root) else frozenset()


def was_trained(root: Path) -> bool:
    """Return whether the fine-tuned model of the project at `root` was trained for an epoch.

    Where there were too few images, or where no epoch was better, it is the baseline, with a head.
    """
    folder = root / "models" / TRAINED_MODEL
    if not (folder / RECORD_FILE).is_file():
        return False
    metrics = read_current_metrics(root, "train")
    if metrics is not None:
        return metrics.get("best_epoch", 0) > 0
    # In a clone that has pulled the model alone; the text is that of the train stage.
    return not read_record(folder).because.startswith("too few images")
