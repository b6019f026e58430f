"""The model that people get unless they name one: the better of the two on validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.searching.catalog import require_files
from pipeline.data.metrics_files import MATCH_THRESHOLD, read_metrics_files
from pipeline.data.training_record import RECORD_FILE, read_record

if TYPE_CHECKING:  # it imports torch, which `serve` does later
    from app.searching.model_index import Neighbor

BEST = "best"
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
    folder = root / "models/finetuned"
    require_files(root, [folder / RECORD_FILE])
    record = read_record(folder)
    return ModelName(record.use, record.because)


def read_match_threshold(root: Path, model: str) -> float | None:
    """Return the score above which a result of `model` is a match; None where none was chosen."""
    path = root / "metrics" / f"{model}.json"
    if not path.is_file():
        return None
    (numbers,) = read_metrics_files([path]).values()
    return numbers.get(MATCH_THRESHOLD)


def is_match(neighbors: Sequence["Neighbor"], threshold: float) -> bool:
    """Return whether the best of the neighbors, if any, is above the threshold."""
    return bool(neighbors) and neighbors[0].score > threshold


def list_best_first(root: Path) -> list[str]:
    """Return both models of the project, that which `resolve_model` takes for "best" first."""
    best = resolve_model(root, BEST).name
    return [best, *(name for name in MODELS if name != best)]
