"""Whether a model, its metrics and params.yaml belong together, by what dvc.lock has recorded."""

from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

from app.experiments.dvc_adapter.lock import Lock, hash_folder, read_lock
from pipeline.config.dotted_keys import flatten, show_value
from pipeline.config.load import read_params, read_yaml
from pipeline.config.variants import apply_variant
from pipeline.errors import UserError

LOCK = "dvc.lock"


def require_recorded(root: Path, name: str, values: Mapping[str, Any]) -> None:
    """Raise a UserError where the model, its metrics or `values` are not what dvc.lock records.

    Without a record of the model there is nothing to compare with.

    values: those of params.yaml, with what a variant changes.
    """
    lock = _read_lock(root)
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


def require_recorded_results(root: Path, name: str) -> None:
    """Raise a UserError where results/<name> are not what dvc.lock records of the model there."""
    lock, results = _read_lock(root), f"results/{name}"
    if lock is None or (recorded := lock.hash_of(results)) is None:
        return
    if recorded != hash_folder(root / results) or not lock.is_of_one_run(results):
        raise UserError(f"{root / results}: not measured of this models/{name}; run: dvc repro")


def read_settings(root: Path, name: str) -> dict[str, Any]:
    """Return the values of params.yaml that a model is made with: with what a variant changes."""
    path = root / "params.yaml"
    values: dict[str, Any] = read_yaml(path)
    return apply_variant(values, name) if name in read_params(path).variants else values


def _read_lock(root: Path) -> Lock | None:
    path = root / LOCK
    return read_lock(path.read_text("utf-8"), where=str(path)) if path.is_file() else None


def _hash_file(path: Path) -> str:
    """Return the hash that DVC records for a file."""
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()
