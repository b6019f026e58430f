"""The model that people get unless they name one: the better of the two on validation."""

from dataclasses import dataclass
from pathlib import Path

from app.searching.catalog import require_files
from pipeline.data.training_record import RECORD_FILE, read_record

BEST = "best"
FOLDER = "models/finetuned"  # with the record of the training
MODELS = ("baseline", "finetuned")


@dataclass(frozen=True)
class ModelName:
    """A model's name; because: why it was taken, None where the user named it."""

    name: str
    because: str | None = None


def resolve_model(root: Path, name: str) -> ModelName:
    """Return the model that `name` means: itself, or for "best" the one that training recorded.

    Raises:
        UserError: "best", and there is no training in the project at `root`.
    """
    if name != BEST:
        return ModelName(name)
    require_files(root, [root / FOLDER / RECORD_FILE])
    record = read_record(root / FOLDER)
    return ModelName(record.use, record.because)


def find_best(root: Path) -> ModelName | None:
    """Return the model that "best" means; None where there is no training in the project."""
    return resolve_model(root, BEST) if (root / FOLDER / RECORD_FILE).is_file() else None


def list_best_first(root: Path) -> list[str]:
    """Return both models of the project, that which `resolve_model` takes for "best" first."""
    best = resolve_model(root, BEST).name
    return [best, *(name for name in MODELS if name != best)]
