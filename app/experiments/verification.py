"""Whether a run of the DAG gave what dvc.lock records, and where the first difference arose."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.experiments.dvc_adapter.lock import Lock
from pipeline.data.files import written_whole
from pipeline.errors import UserError

# The machine that dvc.lock was made on. In no output: else no two machines would have the same.
MACHINE = Path("machine.json")


@dataclass(frozen=True)
class Verified:
    """same: output -> whether it is the recorded one, in the order of dvc.lock.

    begins: stage -> its outputs that differ although all that it read is the same.
    changed: the code, images, params, commands and stages of the commit that are not the recorded
    ones.
    """

    same: Mapping[str, bool]
    begins: Mapping[str, list[str]]
    changed: Sequence[str] = ()

    @property
    def differing(self) -> list[str]:
        """The outputs that differ."""
        return [path for path, same in self.same.items() if not same]


def verify_outputs(recorded: Lock, found: Lock) -> Verified:
    """Return which outputs of `recorded` are those of `found`, a run of the same commit."""
    before, after = recorded.outputs(), found.outputs()
    same = {path: after.get(path) == md5 for path, md5 in before.items()}
    differing = {path for path, equal in same.items() if not equal}
    begins: dict[str, list[str]] = {}
    changed = {f"stage {name}": None for name in found.stages if name not in recorded.stages}
    for stage in recorded.stages:
        other = _list_changed(recorded, found, stage)
        changed |= dict.fromkeys(other)
        inputs, outputs = recorded.inputs_of(stage), recorded.outputs_of(stage)
        if other or differing & inputs.keys():
            continue
        if differ := sorted(differing & outputs.keys()):
            begins[stage] = differ
    return Verified(same, begins, list(changed))


def _list_changed(recorded: Lock, found: Lock, stage: str) -> list[str]:
    """Return what a stage read that no stage wrote, and that differs: files, params, its command.

    A stage that did not run has read nothing else.
    """
    if stage not in found.stages:
        return []
    outputs = recorded.outputs()
    kinds = [
        ({path: md5 for path, md5 in lock.inputs_of(stage).items() if path not in outputs})
        | lock.settings_of(stage)
        | {f"the command of {stage}": lock.stages[stage].get("cmd")}
        for lock in (recorded, found)
    ]
    before, after = kinds
    return [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]


def record_machine(facts: Mapping[str, str], path: Path = MACHINE) -> None:
    """Write `facts` as the machine that dvc.lock was made on."""
    with written_whole(path) as (unfinished,):
        unfinished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_machine(text: str | None) -> dict[str, str]:
    """Return the facts in the text of machine.json; {} where there is no such file.

    Raises:
        UserError: it is not such a file.
    """
    try:
        facts = json.loads(text or "{}")
        return {str(name): str(fact) for name, fact in facts.items()}
    except (ValueError, AttributeError, RecursionError):
        raise UserError(
            f"{MACHINE}: not what `lookalike verify --record` writes, so the machine that made "
            "dvc.lock is not known; whoever commits dvc.lock runs that again"
        ) from None
