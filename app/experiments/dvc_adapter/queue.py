"""DVC's queue of experiments: add to it, read it, and keep its workers running.

The queue is changed by DVC's commands, but read in this process: each `dvc queue status` takes
seconds of a core, which the training needs.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from app.experiments.git import run_git
from pipeline.errors import UserError
from pipeline.stopping import ended_first

T = TypeVar("T")

PENDING = ("Queued", "Running")
_ATTEMPTS = 5
# What DVC's commands say while a worker holds a lock or moves a file. What DVC does not expect
# ("unexpected error - [Errno 2] …") is of that kind, what it refuses is not.
_BUSY = re.compile(r"\block\b|\.lock\b|is busy|unexpected error", re.IGNORECASE)


class _BusyError(UserError):
    """DVC failed because of its workers, and may not the next time."""


def add(name: str, settings: Mapping[str, Any]) -> None:
    """Put the experiment `name`, with `settings` (dotted key -> value), at the end of the queue.

    DVC stashes the working tree meanwhile. So it runs in another session, which Ctrl-C does not
    reach, and this function waits for it: the user's files always come back.

    Raises:
        UserError: DVC refused.
    """
    options = [f"--set-param={key}={format_override(value)}" for key, value in settings.items()]
    with ended_first():
        _call("exp", "run", "--queue", "--name", name, *options)


def format_override(value: Any) -> str:
    """Return a value as `dvc exp run --set-param` reads it (Hydra's grammar)."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(format_override(each) for each in value)}]"
    if isinstance(value, str):
        # A backslash is special only before a quote, and there each one is doubled.
        escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (m[2] and "\\'"), value)
        return f"'{escaped}'"
    return repr(value)


def is_in_git_or_dvc(path: Path, *, whole: bool) -> bool:
    """Return whether experiments find `path`: they run in a copy of the files of git and DVC.

    whole: all of its files; else some of them. A path outside the project is always found.
    """
    if path.is_absolute() or any(Path(f"{each}.dvc").is_file() for each in (path, *path.parents)):
        return True
    tracked = run_git("ls-files", "--", str(path)).stdout
    untracked = run_git("ls-files", "--others", "--", str(path)).stdout
    return bool(tracked) and not (whole and untracked)


def read_states() -> dict[str, str]:
    """Return experiment -> Running, Queued, Failed or Success.

    Raises:
        UserError: this is not a DVC repository.
    """
    with _experiments() as experiments:
        # DVC lists running experiments, then queued ones: one that starts in between is in neither
        # list. The second time it is running.
        first, second = (_read_states_once(experiments.celery_queue) for _ in range(2))
    return first | second


def _read_states_once(queue: Any) -> dict[str, str]:
    states: dict[str, str] = {}
    # An experiment that runs again may also be listed as failed, but after the running ones.
    for task in _retry(queue.status):
        states.setdefault(task["name"], task["status"])
    return states


def list_finished(commit: str) -> dict[str, str]:
    """Return experiment -> its commit, of those that started from `commit` and have results."""
    with _experiments() as experiments:
        found = _retry(lambda: experiments.ls(rev=commit))
    return {name: result for listed in found.values() for name, result in listed}


def remove(name: str) -> None:
    """Remove a failed experiment from the queue, so that its name is free."""
    _call("queue", "remove", name)


def kill(name: str) -> bool:
    """Interrupt a running experiment: it then fails, and its worker stops with it.

    Returns whether it was interrupted: it may not have reached its first stage yet, or have ended.
    """
    return not _run_dvc("queue", "kill", name).returncode


def read_log(name: str) -> str:
    """Return what an experiment of the queue has printed; "" if it has not started."""
    return _run_dvc("queue", "logs", name).stdout


def start_workers(count: int) -> None:
    """Start workers until `count` are running; they outlive this process."""
    _call("queue", "start", "--jobs", str(count))


def count_workers() -> int:
    """Return how many workers of this project's queue are running.

    DVC asks the workers, and a busy one may not answer in time; so look for their processes.
    """
    return len(_find_workers(_list_processes()))


def mark_lost_as_failed() -> None:
    """Mark as failed the experiments that DVC lists as running but whose processes were killed.

    `dvc queue kill` would do so, but first it signals whatever process now has the old process id.
    """
    commands = _list_processes()
    if _find_workers(commands):
        return
    with _experiments() as experiments:
        queue = experiments.celery_queue
        for result, entry in list(queue._iter_active_tasks()):
            # An experiment runs on to its end without its worker, but nothing collects its results.
            if not any(entry.stash_rev in command for command in commands):
                queue.celery.backend.mark_as_failure(result.id, None)


def _find_workers(commands: list[str]) -> set[str]:
    # A worker is several processes with the same name after "queue-worker".
    return {found[1] for each in commands if (found := re.search(r"queue-worker (\S+)", each))}


def _list_processes() -> list[str]:
    """Return the command lines of the processes in this folder and below, as experiments are."""
    import psutil

    here = Path.cwd().resolve()
    commands = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(here):
                commands.append(" ".join(process.cmdline()))
        except psutil.Error:  # another user's process, or one that has ended
            continue
    return commands


def _run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The workers and their stages look up `dvc` and `python`: those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Files, not pipes: the workers that `queue start` leaves behind would keep pipes open.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        done = subprocess.run(  # noqa: S603 - our own Python, by a list
            [sys.executable, "-m", "dvc", *arguments],
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            check=False,
            start_new_session=True,
        )
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), errors.read())


def _call(*arguments: str) -> None:
    """Run a command of DVC; raise a UserError with its last error line if it fails."""

    def run() -> None:
        done = _run_dvc(*arguments)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            reason = errors[-1].removeprefix("ERROR: ") if errors else done.stderr.strip()[-300:]
            kind = _BusyError if _BUSY.search(reason) else UserError
            raise kind(f"dvc {' '.join(arguments[:2])}: {reason}")

    _retry(run)


def _retry(call: Callable[[], T]) -> T:
    """Call up to _ATTEMPTS times: DVC fails while a worker holds a lock or moves a file."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except Exception as error:
            if not _may_pass(error):
                raise
            time.sleep(attempt)
    return call()


def _may_pass(error: Exception) -> bool:
    """Whether an error is of a lock that is held, or of a file that is moved or half written."""
    if isinstance(error, UserError):
        return isinstance(error, _BusyError)
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError
    from kombu.exceptions import KombuError

    passing = (OSError, json.JSONDecodeError, LockError, RWLockFileCorruptedError, KombuError)
    return isinstance(error, passing)


@contextmanager
def _experiments() -> Iterator[Any]:
    """Yield DVC's object of the experiments of this repository."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo()
    except NotDvcRepoError:
        raise UserError("dvc: found no .dvc here; experiments need one; run: dvc init") from None
    with repo:
        yield repo.experiments
