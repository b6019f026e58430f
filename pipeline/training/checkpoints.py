"""What training keeps between epochs, so that a killed run resumes."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline.data.files import remove_abandoned, written_whole

DAMAGED = ".damaged"  # after the name of a file that is set aside

logger = logging.getLogger(__name__)


class Checkpoint:
    """The state after the last epoch of a run, in `directory`/<name>.pt."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.pt"

    def load(self) -> dict[str, Any] | None:
        """Return what was last saved, tensors on the CPU; None if nothing was.

        A file that cannot be read is set aside.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file gives any
            self.set_aside(error)
            return None
        return state

    def set_aside(self, error: Exception) -> None:
        """Warn of what was saved, of which `error` came, and rename it: training begins anew."""
        aside = self.path.with_name(self.path.name + DAMAGED)
        with suppress(FileNotFoundError):  # another process of this training was first
            os.replace(self.path, aside)
            logger.warning(
                "%s: damaged (%r); training begins anew, and the file is kept as %s until it ends",
                self.path,
                error,
                aside.name,
            )

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; a kill at any moment leaves the old state or the new one."""
        with written_whole(self.path) as (unfinished,):
            torch.save(state, unfinished)
            with unfinished.open("rb") as saved:
                os.fsync(saved.fileno())  # so that it is whole after a power cut too

    def discard(self) -> None:
        """Delete it and the checkpoints of abandoned runs, whole or half written: this run is
        complete.
        """
        for ending in ("", DAMAGED):
            for path in self.path.parent.glob(f"*.pt{ending}"):
                path.unlink()
        remove_abandoned(self.path.parent)
