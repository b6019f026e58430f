"""Files that a stage keeps beside its outputs, which DVC removes before it runs, for its next run.

DVC does not know of them: an output is the same bits with and without.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.errors import UserError


class KeptFiles:
    """The files in `folder`, each named by a digest of what it was made from.

    of: all that they are made from but for the `source` of each, as text: model, options, code.
    check: raises a UserError for the path of a file that is damaged.
    """

    def __init__(
        self, folder: Path, suffix: str, *, of: str, check: Callable[[Path], object]
    ) -> None:
        self._folder, self._suffix, self._of, self._check = folder, suffix, of, check

    def path(self, source: str) -> Path:
        """Return where what is made from `source` is kept."""
        name = hashlib.sha256(f"{self._of}\0{source}".encode()).hexdigest()[:32]
        return self._folder / f"{name}{self._suffix}"

    def has(self, source: str) -> bool:
        """Return whether the file is there, and whole."""
        path = self.path(source)
        if not path.is_file():
            return False
        try:
            self._check(path)
        except UserError:
            return False
        return True

    def keep_only(self, sources: Iterable[str]) -> None:
        """Remove all files but those made from `sources`."""
        wanted = {self.path(source) for source in sources}
        for path in self._folder.glob(f"*{self._suffix}"):
            if path not in wanted:
                path.unlink(missing_ok=True)
