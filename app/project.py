"""The project in a folder: whether there is one, and which paths its stages write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.load import read_yaml
from pipeline.errors import UserError

DAG = "dvc.yaml"


def require_project(root: Path) -> None:
    """Raise a UserError unless `root` is the root of a project."""
    path = root / DAG
    if not path.is_file():
        raise UserError(f"{path}: no such file; run from the root of the project")


def list_stage_outputs(root: Path) -> list[Path]:
    """Return the files and folders that the stages of the project at `root` write; [] without one.

    Of a path with a variable, as results/${item.model}, the folder before it.
    """
    path = root / DAG
    if not path.is_file():
        return []
    values = read_yaml(path)
    try:
        stages = (values or {}).get("stages") or {}
        return [root / each for stage in stages.values() for each in _list_paths(stage)]
    except (AttributeError, TypeError, ValueError, StopIteration):
        raise UserError(f"{path}: not a DAG of DVC; run: git checkout {DAG}") from None


def _list_paths(stage: dict[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for each in stage.get(kind) or []:
            path = next(iter(each)) if isinstance(each, dict) else each
            fixed, variable, _ = path.partition("${")
            yield fixed.rpartition("/")[0] if variable else path
