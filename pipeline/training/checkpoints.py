"""What training keeps between epochs, so that a killed run resumes."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from pipeline.data.files import remove_abandoned, written_whole

DAMAGED = ".damaged"  # after the name of a file that is set aside

logger = logging.getLogger(__name__)


def _check_sums(path: Path) -> None:
    """Raise a ValueError if a changed byte is in the file at `path`: torch reads it as it is."""
    with ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} is not what its checksum says")


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
            _check_sums(self.path)
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (PermissionError, MemoryError):  # the file may be good
            raise
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
        with written_whole(self.path) as (unfinished,), unfinished.open("wb") as saved:
            torch.save(state, saved)
            saved.flush()
            os.fsync(saved.fileno())  # so that it is whole after a power cut too

    def discard(self) -> None:
        """Delete it and the checkpoints of abandoned runs, whole or half written: this run is
        complete.
        """
        for ending in ("", DAMAGED):
            for path in self.path.parent.glob(f"*.pt{ending}"):
                path.unlink()
        remove_abandoned(self.path.parent)
