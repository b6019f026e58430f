"""What training keeps between epochs, so that a killed run goes on instead of beginning again."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch


def fingerprint(settings: str, files: Iterable[Path]) -> str:
    """Return 16 hex digits that change with `settings` or with the content of any of `files`.

    A folder counts as the files in it. A checkpoint is only taken up by the run it belongs to.
    """
    digest = hashlib.sha256(settings.encode())
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"\0{file.as_posix()}\0".encode())
                with file.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


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
        """Forget it: the run is complete."""
        self.path.unlink(missing_ok=True)
