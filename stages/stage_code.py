"""The code of a stage: the files of it that dvc.yaml lists, by which DVC too decides to run it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipeline", "stages")


def fingerprint_code(*names: str, root: Path = ROOT) -> str:
    """Return 16 hex digits that change with the name or content of any file of code.

    names: of the stages whose code counts; all if there is none. root: the folder of dvc.yaml.
    """
    stages: dict[str, Any] = YAML(typ="safe").load((root / "dvc.yaml").read_text("utf-8"))["stages"]
    listed = {Path(dep) for name in names or stages for dep in stages[name]["deps"]}
    contents = {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for dep in listed
        if dep.parts[0] in FOLDERS
        for file in ((root / dep).rglob("*") if (root / dep).is_dir() else [root / dep])
        if file.is_file() and "__pycache__" not in file.parts
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]
