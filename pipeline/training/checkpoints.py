"""What training keeps between epochs, so that a killed run resumes."""

from pathlib import Path
from typing import Any

import torch

from pipeline.data.files import remove_abandoned, written_whole


class Checkpoint:
    """The state after the last epoch of a run, in `directory`/<name>.pt."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.pt"

    def load(self) -> dict[str, Any] | None:
        """Return what was last saved, tensors on the CPU; None if nothing was."""
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; a kill at any moment leaves the old state or the new one."""
        with written_whole(self.path) as (unfinished,):
            torch.save(state, unfinished)

    def discard(self) -> None:
        """Delete it and the checkpoints of abandoned runs, whole or half written: this run is
        complete.
        """
        for path in self.path.parent.glob("*.pt"):
            path.unlink()
        remove_abandoned(self.path.parent)
