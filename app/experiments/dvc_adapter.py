"""DVC's experiments and the queue that runs them, by DVC's own commands.

The queue itself is read in this process: `dvc queue status` takes seconds of a core each time,
which the training needs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from pipeline.errors import UserError

T = TypeVar("T")

WAITING = ("Queued", "Running")
_ATTEMPTS = 5


def baseline() -> str:
    """Return the commit that new experiments begin at.

    Raises:
        UserError: this is no git repository, or it has no commit.
    """
    found = _git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if found.returncode:
        raise UserError(
            "git: found no commit; experiments begin at one; "
            "run: git init; git add --all; git commit"
        )
    return found.stdout.strip()


def changed_code(*paths: str) -> str:
    """Return how `paths` differ from the last commit, as a diff."""
    return _git("diff", "HEAD", "--", *paths).stdout


def differs_from_git(path: Path) -> bool:
    """Whether a file is not as in the last commit; False where there is no repository."""
    return bool(_git("status", "--porcelain", "--", str(path)).stdout)


def is_complete_in_queue(path: Path, *, whole: bool) -> bool:
    """Whether a queued experiment, which runs in a copy of what git and DVC have, finds `path`.

    whole: every file of it; else it is enough that something is there.
    """
    if path.is_absolute() or any(Path(f"{each}.dvc").is_file() for each in (path, *path.parents)):
        return True
    tracked = _git("ls-files", "--", str(path)).stdout
    missing = _git("ls-files", "--others", "--", str(path)).stdout
    return bool(tracked) and not (whole and missing)


def queue(name: str, settings: Mapping[str, Any]) -> None:
    """Put the experiment `name`, with `settings` (dotted key -> value), at the end of the queue.

    While DVC does it, the files of the working tree are put aside and back. So it runs in a session
    of its own and Ctrl-C waits for it: the person's files are never left behind.

    Raises:
        UserError: DVC refused.
    """
    options = [f"--set-param={key}={as_override(value)}" for key, value in settings.items()]
    with _interrupted_later():
        _call("exp", "run", "--queue", "--name", name, *options)


def as_override(value: Any) -> str:
    """Return a value as `dvc exp run --set-param` reads it (Hydra's grammar)."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(as_override(each) for each in value)}]"
    if isinstance(value, str):
        # A backslash is special only before a quote, and there each one is doubled.
        escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (m[2] and "\\'"), value)
        return f"'{escaped}'"
    return repr(value)


def start(jobs: int) -> None:
    """Start up to `jobs` workers of the queue, which go on without this process."""
    _call("queue", "start", "--jobs", str(jobs))


def workers() -> int:
    """Return how many workers of this project's queue are alive.

    DVC asks its workers, and one that is busy may not answer in time; so look for the processes.
    """
    return len(_workers(_processes()))


def read_queue() -> dict[str, str]:
    """Return name -> Running, Queued, Failed or Success."""
    with _experiments() as known:
        # DVC looks at what runs, then at what is queued: what begins in between is in neither. The
        # second time it runs.
        first, second = (_read_once(known.celery_queue) for _ in range(2))
    return first | second


def _read_once(waiting: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    # DVC tells what runs first, so what runs again hides that it failed before.
    for task in _patiently(waiting.status):
        found.setdefault(task["name"], task["status"])
    return found


def finished(rev: str) -> dict[str, str]:
    """Return name -> commit of the experiments that began at `rev` and were collected."""
    with _experiments() as known:
        found = _patiently(lambda: known.ls(rev=rev))
    return {name: commit for listed in found.values() for name, commit in listed}


def read_metrics(commit: str, path: str) -> dict[str, Any]:
    """Return the figures that an experiment has in `path`, a JSON of metrics; {} if it has none."""
    text = read_committed(commit, path)
    figures: dict[str, Any] = {} if text is None else json.loads(text)
    return figures


def named() -> dict[str, list[str]]:
    """Return name -> commits of all experiments that were collected, whatever they began at."""
    listed = _git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").stdout
    found: dict[str, list[str]] = {}
    # refs/exps/<2 letters>/<38 letters of the commit it began at>/<name>; others are DVC's own.
    for name, commit in re.findall(r"^refs/exps/\w{2}/\w{38}/(\S+) (\w+)$", listed, re.MULTILINE):
        found.setdefault(name, []).append(commit)
    return found


def find_commit(revision: str) -> str | None:
    """Return the commit that git knows by `revision`; None if there is none."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return None if found.returncode else found.stdout.strip()


def read_committed(commit: str, path: str) -> str | None:
    """Return the text of a file of this folder as it was at `commit`; None if it has none."""
    shown = _git("show", f"{commit}:./{path}")
    return None if shown.returncode else shown.stdout


def open_cache() -> Callable[[str], Path]:
    """Return where DVC's cache has, or would have, the file of a hash."""
    with _experiments() as known:
        local = known.repo.cache.local
    return lambda md5: Path(local.oid_to_path(md5))


def forget(name: str) -> None:
    """Remove what failed from the queue, so that its name is free."""
    _call("queue", "remove", name)


def kill(name: str) -> bool:
    """Interrupt an experiment that runs: it then fails, and its worker stops with it.

    Returns whether it was reached: it may not have come to its first stage yet, or have just ended.
    """
    return not _dvc("queue", "kill", name).returncode


def fail_lost() -> None:
    """Mark as failed what seems to run but whose processes were killed.

    `dvc queue kill` would do, but first signals whatever has the process's number by now; what it
    then does is done here.
    """
    commands = _processes()
    if _workers(commands):
        return
    with _experiments() as known:
        waiting = known.celery_queue
        for result, entry in list(waiting._iter_active_tasks()):
            # Without its worker an experiment still runs to its end, but nobody collects it.
            if not any(entry.stash_rev in command for command in commands):
                waiting.celery.backend.mark_as_failure(result.id, None)


def log(name: str) -> str:
    """Return what an experiment of the queue has printed; empty if it did not come so far."""
    return _dvc("queue", "logs", name).stdout


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git: found no such command; install git, or add it to PATH") from None


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The workers and their stages look up `dvc` and `python`: those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Not by pipes: the workers that `queue start` leaves behind would hold them open.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        done = subprocess.run(
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


def _call(*arguments: str) -> str:
    """Return what `dvc` prints; raises a UserError with its own last word if it fails."""

    def call() -> str:
        done = _dvc(*arguments)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            reason = said[-1].removeprefix("ERROR: ") if said else done.stderr.strip()[-300:]
            raise UserError(f"dvc {' '.join(arguments[:2])}: {reason}")
        return done.stdout

    return _patiently(call)


def _patiently(call: Callable[[], T]) -> T:
    """Try again for some seconds: while a worker holds a lock or moves a file, DVC just fails."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except Exception:
            time.sleep(attempt)
    return call()


@contextmanager
def _experiments() -> Iterator[Any]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo()
    except NotDvcRepoError:
        raise UserError("dvc: found no .dvc here; experiments need one; run: dvc init") from None
    with repo:
        yield repo.experiments


def _workers(commands: list[str]) -> set[str]:
    # A worker is several processes; its name, the same in each, follows "queue-worker".
    return {found[1] for each in commands if (found := re.search(r"queue-worker (\S+)", each))}


def _processes() -> list[str]:
    """Return the command lines of what runs in this folder; experiments do so below it."""
    import psutil

    here = Path.cwd().resolve()
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(here):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # another person's, or gone in the meantime
            continue
    return found


@contextmanager
def _interrupted_later() -> Iterator[None]:
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt
