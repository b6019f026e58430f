"""dvc.lock: what made a file, as DVC recorded it when it was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.dotted_keys import flatten
from pipeline.config.load import NOT_YAML
from pipeline.errors import UserError

RESULTS = "results/"


@dataclass(frozen=True)
class Provenance:
    """What made a file.

    settings: dotted key -> value, of the stages that it comes from and of no others. sources: path
    -> md5 of what those stages read and no stage wrote, the code among it. stages: their names.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    stages: frozenset[str] = frozenset()

    @property
    def trained(self) -> bool:
        """Whether a training is behind it."""
        return "train" in self.stages


@dataclass(frozen=True)
class Lock:
    """The stages of one dvc.lock, by name."""

    stages: Mapping[str, Any]

    @property
    def models(self) -> list[str]:
        """The models whose results were recorded."""
        return [path.removeprefix(RESULTS) for path in self._writers() if path.startswith(RESULTS)]

    def hash_of(self, path: str) -> str | None:
        """Return the md5 of what a stage wrote to `path`; of a folder it ends in ".dir"."""
        name = self._writers().get(path)
        return None if name is None else _hashes(self.stages[name], "outs")[path]

    def trace(self, path: str) -> Provenance:
        """Return what made `path`, back to where nothing was made."""
        writers = self._writers()
        settings: dict[str, Any] = {}
        sources: dict[str, str] = {}
        seen: set[str] = set()
        waiting = [path]
        while waiting:
            name = writers.get(waiting.pop())
            if name is None or name in seen:
                continue
            seen.add(name)
            for params in self.stages[name].get("params", {}).values():
                settings |= flatten(params)
            for read, md5 in _hashes(self.stages[name], "deps").items():
                if read in writers:
                    waiting.append(read)
                else:
                    sources[read] = md5
        return Provenance(settings, sources, frozenset(seen))

    def _writers(self) -> dict[str, str]:
        return {
            path: name for name, stage in self.stages.items() for path in _hashes(stage, "outs")
        }


def read_lock(text: str, *, where: str) -> Lock:
    """Return the dvc.lock in `text`.

    Raises:
        UserError: it is not one.
    """
    try:
        stages = YAML(typ="safe").load(text)["stages"]
    except (*NOT_YAML, TypeError):
        raise UserError(f"{where}: not a dvc.lock; run: dvc repro") from None
    return Lock(stages)


def _hashes(stage: Any, kind: str) -> dict[str, str]:
    return {each["path"]: each.get("md5", "") for each in stage.get(kind, [])}
