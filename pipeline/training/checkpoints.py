"""What training keeps between epochs, so that a killed run goes on instead of beginning again."""

import os
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """One run's last epoch, at `directory`/<fingerprint>.pt."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.pt"

    def load(self) -> dict[str, Any] | None:
        """Return what was last saved, tensors on the CPU; None where nothing was."""
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; a kill at any moment leaves the old state or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        torch.save(state, unfinished)
        os.replace(unfinished, self.path)

    def discard(self) -> None:
        """Forget it, and those of runs that were given up: this run is complete."""
        for path in self.path.parent.glob("*.pt"):
            path.unlink()
