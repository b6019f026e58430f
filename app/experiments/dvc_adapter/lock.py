"""dvc.lock: what made a file, as DVC recorded it when it was made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.dotted_keys import flatten
from pipeline.config.load import NOT_YAML
from pipeline.errors import UserError

RESULTS = "results/"
TRAININGS = ("train", "variant")  # stages
VARIANTS = "variants."  # before the name of a variant and the keys that it changes
CODE_FOLDERS = ("pipeline", "stages")  # of the code that stages run


@dataclass(frozen=True)
class Provenance:
    """What made a file.

    settings: dotted key -> value, of the stages that the file comes from and of no others.
    sources: path -> md5 of the files that those stages read and no stage wrote, such as code.
    stages: their names.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    stages: frozenset[str] = frozenset()

    @property
    def is_trained(self) -> bool:
        """Whether a training is among the stages."""
        return any(name.partition("@")[0] in TRAININGS for name in self.stages)


@dataclass(frozen=True)
class Lock:
    """The content of one dvc.lock: stage name -> its record."""

    stages: Mapping[str, Any]

    @property
    def models(self) -> list[str]:
        """The models with recorded results."""
        return [path.removeprefix(RESULTS) for path in self._writers() if path.startswith(RESULTS)]

    def outputs(self) -> dict[str, str]:
        """Return output -> md5, of all stages."""
        return {path: md5 for name in self.stages for path, md5 in self.outputs_of(name).items()}

    def outputs_of(self, stage: str) -> dict[str, str]:
        """Return output -> md5 of a stage."""
        return _read_hashes(self.stages[stage], "outs")

    def inputs_of(self, stage: str) -> dict[str, str]:
        """Return dependency -> md5 of a stage."""
        return _read_hashes(self.stages[stage], "deps")

    def settings_of(self, stage: str) -> dict[str, Any]:
        """Return dotted key -> value of the params that a stage read."""
        files = self.stages[stage].get("params", {}).values()
        return {key: value for params in files for key, value in flatten(params).items()}

    def hash_of(self, path: str) -> str | None:
        """Return the md5 of the output `path`, with ".dir" at its end for a folder."""
        name = self._writers().get(path)
        return None if name is None else _read_hashes(self.stages[name], "outs")[path]

    def trace(self, path: str) -> Provenance:
        """Return what made the output `path`, back to the files that no stage wrote."""
        writers = self._writers()
        settings: dict[str, Any] = {}
        sources: dict[str, str] = {}
        stages: set[str] = set()
        paths = [path]
        while paths:
            name = writers.get(paths.pop())
            if name is None or name in stages:
                continue
            stages.add(name)
            settings |= self.settings_of(name)
            for dependency, md5 in _read_hashes(self.stages[name], "deps").items():
                if dependency in writers:
                    paths.append(dependency)
                else:
                    sources[dependency] = md5
        return Provenance(_apply_variant(settings), sources, frozenset(stages))

    def is_of_one_run(self, path: str) -> bool:
        """Return whether all stages that the output `path` comes from read what the stages before
        them wrote last: not while a run is under way, nor after one that stopped halfway."""
        recorded = self.outputs()
        return all(
            md5 == recorded.get(dependency, md5)
            for name in self.trace(path).stages
            for dependency, md5 in self.inputs_of(name).items()
        )

    def sizes(self) -> dict[str, int]:
        """Return output -> its bytes, of a folder those of its files, of all stages."""
        return {
            each["path"]: each["size"]
            for stage in self.stages.values()
            for each in stage.get("outs", [])
            if "size" in each
        }

    def _writers(self) -> dict[str, str]:
        """Return output -> the stage that writes it."""
        return {
            path: name
            for name, stage in self.stages.items()
            for path in _read_hashes(stage, "outs")
        }


def read_lock(text: str, *, where: str) -> Lock:
    """Return the dvc.lock in `text`.

    Raises:
        UserError: it is not one.
    """
    try:
        lock = Lock(YAML(typ="safe").load(text)["stages"])
        for stage in lock.stages:
            lock.settings_of(stage), lock.inputs_of(stage), lock.outputs_of(stage)
    except (*NOT_YAML, TypeError, AttributeError, RecursionError):
        raise UserError(f"{where}: not a dvc.lock; run: dvc repro") from None
    return lock


def hash_folder(folder: Path) -> str:
    """Return the hash that DVC records for a folder: the md5 of the list of its files, + ".dir"."""
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    listed = []
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            listed.append({"md5": hashlib.file_digest(file, _md5).hexdigest(), "relpath": name})
    return f"{_md5(json.dumps(listed).encode()).hexdigest()}.dir"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _read_hashes(stage: Any, kind: str) -> dict[str, str]:
    return {each["path"]: each.get("md5", "") for each in stage.get(kind, [])}


def _apply_variant(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with what a variant changes in the place of what it replaces."""
    applied = {key: value for key, value in settings.items() if not key.startswith(VARIANTS)}
    changes = {
        key.removeprefix(VARIANTS).partition(".")[2]: value
        for key, value in settings.items()
        if key.startswith(VARIANTS)
    }
    for key in [key for key in changes if key.endswith(".name")]:
        section = key.removesuffix("name")
        others = [each for each in applied if each.startswith(section) and each.count(".") > 1]
        for other in others:
            if not other.startswith(f"{section}{changes[key]}."):
                del applied[other]
    return applied | {key: value for key, value in changes.items() if key}
