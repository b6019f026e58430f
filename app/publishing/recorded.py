"""Whether a model, its metrics and params.yaml belong together, by what dvc.lock has recorded."""

from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

from app.experiments.dvc_adapter.lock import hash_folder, read_lock
from pipeline.config.dotted_keys import flatten, show_value
from pipeline.errors import UserError

LOCK = "dvc.lock"


def require_recorded(root: Path, name: str, values: Mapping[str, Any]) -> None:
    """Raise a UserError where the model, its metrics or `values` are not what dvc.lock records.

    Without a record of the model there is nothing to compare with.

    values: those of params.yaml, with what a variant changes.
    """
    path = root / LOCK
    lock = read_lock(path.read_text("utf-8"), where=str(path)) if path.is_file() else None
    model, metrics = f"models/{name}", f"metrics/{name}.json"
    if lock is None or (recorded := lock.hash_of(model)) is None:
        return
    if recorded != hash_folder(root / model):
        raise UserError(
            f"{root / model}: is not the model that {LOCK} records; bring that back: dvc checkout, "
            "or make it again: dvc repro"
        )
    measured = (root / metrics).is_file()
    if measured and not (
        lock.hash_of(metrics) == _hash_file(root / metrics) and lock.is_of_one_run(metrics)
    ):
        raise UserError(f"{root / metrics}: not measured of this {model}; run: dvc repro")
    settings = flatten(values)
    for key, value in lock.trace(metrics if measured else model).settings.items():
        if settings.get(key, value) != value:
            raise UserError(
                f"{root / 'params.yaml'}: {key}: found {show_value(settings[key])}; {model} was "
                f"made with {show_value(value)}; set that, or run: dvc repro"
            )


def _hash_file(path: Path) -> str:
    """Return the hash that DVC records for a file."""
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()
