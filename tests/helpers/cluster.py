"""A Dask cluster on this machine, and work for it in which a worker dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

SECONDS = 60


@dataclass
class LocalCluster:
    """A scheduler at `address`, on loopback; its files are in `folder`."""

    address: str
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(
        self,
        *options: str,
        count: int = 1,
        module: str = "stages.worker",
        at: Path = ROOT,
        **variables: str,
    ) -> subprocess.Popen[bytes]:
        """Start a process with `count` workers in the folder `at`, and wait for them."""
        log = self.folder / f"worker{len(self.started)}.log"
        where = ["--local-directory", str(self.folder), "--nworkers", str(count)]
        code = {"PYTHONPATH": str(ROOT)}
        process = _start(log, module, self.address, *where, *options, at=at, **code, **variables)
        self.started.append(process)
        _wait(lambda: log.read_text().count("Registered to:") >= count, log)
        return process

    def workers(self) -> list[int]:
        """Return the process ids of all workers, children of the processes that watch them."""
        return [
            child.pid
            for process in self.started
            if process.poll() is None
            for child in psutil.Process(process.pid).children()
            if any("spawn_main" in word for word in child.cmdline())
        ]


@contextmanager
def local_cluster(folder: Path) -> Iterator[LocalCluster]:
    """Yield a cluster without workers; what is started in the block ends with it.

    The scheduler does not have the code of this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, log = folder / "scheduler.json", folder / "scheduler.log"
    here = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    module = "distributed.cli.dask_scheduler"
    here += ["--scheduler-file", str(file)]
    scheduler = _start(log, module, *here, at=folder, PYTHONPATH="", PYTHONSAFEPATH="1")
    cluster = None
    try:
        _wait(lambda: file.is_file() and file.stat().st_size > 0, log)
        cluster = LocalCluster(json.loads(file.read_text())["address"], folder)
        yield cluster
    finally:
        for process in [*(cluster.started if cluster else []), scheduler]:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(
    log: Path, module: str, *arguments: str, at: Path, **variables: str
) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=at,
            env=environment() | variables,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _wait(is_there: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not is_there():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


@dataclass(frozen=True)
class DiesOnce:
    """Work that doubles a number; the process that is first given `deadly` is killed by it."""

    marker: Path
    deadly: int

    def __call__(self, number: int) -> tuple[int, int]:
        """Return twice the number, and the id of this process."""
        if number == self.deadly and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return 2 * number, os.getpid()
