"""Experiments and revisions of this repository: their names, metrics and outputs."""

import json
import re
import shutil
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from app.experiments.git import read_file, run_git
from pipeline.errors import UserError

# Large files are not copied where the file system has links.
_LINKS = {"cache": {"type": ["symlink", "hardlink", "copy"]}}
_NO_REMOTE = {"core": {"remote": ""}}


def list_experiments() -> dict[str, list[str]]:
    """Return name -> commits of all experiments with results, whatever commit they started from."""
    listed = run_git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").stdout
    found: dict[str, list[str]] = {}
    # refs/exps/<2 digits>/<the other 38 of the commit it started from>/<name>
    for name, commit in re.findall(r"^refs/exps/\w{2}/\w{38}/(\S+) (\w+)$", listed, re.MULTILINE):
        found.setdefault(name, []).append(commit)
    return found


def read_revision_metrics(commit: str, path: str) -> dict[str, Any]:
    """Return the metrics in the JSON file `path` of an experiment; {} if it has no such file."""
    text = read_file(commit, path)
    metrics: dict[str, Any] = {} if text is None else json.loads(text)
    return metrics


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class RevisionOutputs:
    """The outputs of the DAG as of one commit, in DVC's cache and in its remote; to be closed."""

    def __init__(self, commit: str) -> None:
        self._commit = commit
        # Of the repository, whose root is not that of the project if that is a folder in it.
        self._prefix = run_git("rev-parse", "--show-prefix").stdout.strip()

    def fetch(self, path: str, into: Path, *, download: bool) -> bool:
        """Put the output `path` into the folder `into`: from the cache, as links, or the remote.

        download: False for the cache alone. Returns False, with nothing written, if any file of it
        is in neither.

        Raises:
            UserError: the remote cannot be read.
        """
        try:
            # The remote is second: its settings may be of no use on this machine.
            return self._fetch(self._cache, path, into) or (
                download and self._fetch(self._cache_and_remote, path, into)
            )
        except Exception as error:  # of any type, by the kind of the remote
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: DVC cannot fetch it ({reason}); see: dvc fetch") from error

    def close(self) -> None:
        """Close the repository that was opened."""
        for name in ("_cache", "_cache_and_remote"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _fetch(self, files: Any, path: str, into: Path) -> bool:
        from dvc_data.index import DataIndexDirError

        try:
            # cache: a download is in DVC's cache the next time.
            files.get(self._prefix + path, str(into / path), recursive=True, cache=True)
        except (FileNotFoundError, DataIndexDirError):
            _remove(into / path)  # the files that were there
            return False
        return True

    @cached_property
    def _cache(self) -> Any:
        return self._open(_LINKS | _NO_REMOTE)

    @cached_property
    def _cache_and_remote(self) -> Any:
        return self._open(_LINKS)

    def _open(self, config: dict[str, Any]) -> Any:
        from dvc.api import DVCFileSystem
        from dvc.repo import Repo

        # subrepos: .dvc may be in the project's folder instead of the repository's root.
        factory = partial(Repo, config=config)
        return DVCFileSystem(rev=self._commit, config=config, subrepos=True, repo_factory=factory)
