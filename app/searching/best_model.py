"""The model that people get unless they name one: the better or best one on validation."""

from dataclasses import dataclass
from pathlib import Path

from app.searching.catalog import require_files
from pipeline.config.load import read_yaml
from pipeline.data.lineage import TEXT_FILE
from pipeline.data.training_record import RECORD_FILE, has_record, read_record
from pipeline.errors import UserError

BEST = "best"
FOLDER = "models/finetuned"  # with the record of the training


@dataclass(frozen=True)
class ModelName:
    """A model's name; because: why it was taken, None where the user named it."""

    name: str
    because: str | None = None


def resolve_model(root: Path, name: str, *, for_text: bool = False) -> ModelName:
    """Return the model that `name` means: itself, or for "best" the one that training recorded.

    for_text: "best" is one that understands text: the baseline, where the trained one does not.

    Raises:
        UserError: "best", and there is no training in the project at `root`, or no model in it
            understands text.
    """
    if name != BEST:
        return ModelName(name)
    require_files(root, [root / FOLDER / RECORD_FILE])
    best = _choose(root)
    if not for_text or understands_text(root, best.name):
        return best
    for model in list_models(root):
        if understands_text(root, model):
            return ModelName(model, "the one that understands text")
    raise UserError(
        "no model of this project understands text; allowed: a backbone.name of open_clip, such as "
        "open_clip:ViT-B-32.laion2b_s34b_b79k with backbone.weights imagenet (docs/seeing.md)"
    )


def list_models(root: Path) -> list[str]:
    """Return the models of the project at `root`: those of params.yaml that can be searched."""
    values = read_yaml(root / "params.yaml")
    names = values.get("models") if isinstance(values, dict) else None
    listed = names if isinstance(names, list) else ["baseline", "finetuned"]
    parts = ("models", "embeddings", "index")
    return [
        name for name in map(str, listed) if all((root / part / name).is_dir() for part in parts)
    ]


def _choose(root: Path) -> ModelName:
    """Return the model that is better than the baseline, by the record of its training; of several
    the one of the highest mean average precision on validation."""
    trained = [name for name in list_models(root) if has_record(root / "models" / name)]
    records = {name: read_record(root / "models" / name) for name in trained}
    better = [name for name in trained if records[name].use == name]
    if not better:
        finetuned = read_record(root / FOLDER)
        return ModelName(finetuned.use, finetuned.because)
    best = max(better, key=lambda name: records[name].val_map or 0.0)
    because = records[best].because
    if len(better) > 1:
        because = f"the best of {len(better)} on validation: {because}"
    return ModelName(best, because)


def understands_text(root: Path, model: str) -> bool:
    """Return whether a model of the project has a text side."""
    return (root / "models" / model / TEXT_FILE).is_file()


def find_best(root: Path) -> ModelName | None:
    """Return the model that "best" means; None where there is no training in the project."""
    return resolve_model(root, BEST) if (root / FOLDER / RECORD_FILE).is_file() else None


def list_best_first(root: Path) -> list[str]:
    """Return the models of the project, that which `resolve_model` takes for "best" first."""
    best = resolve_model(root, BEST).name
    return [best, *(name for name in list_models(root) if name != best)]
