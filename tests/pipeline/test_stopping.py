"""Ctrl-C and SIGTERM: the status, the one line, and what is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from pipeline.stopping import LOST_WORKER, is_lost_worker
from tests.helpers.clone import wait_until
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module

pytestmark = pytest.mark.slow

START = """
import logging, os, signal, sys, time
from pathlib import Path
from unittest.mock import Mock
from pipeline.entry import run_entry
from pipeline.logs import set_up_logging
from pipeline.stopping import WorkerPool, ended_first, ends_on_signals

def sleep():
    Path("started").touch()
    time.sleep(600)

def begun():
    Path("started").touch()
"""
IN_A_POOL = """
if __name__ == "__main__":
    set_up_logging("pool")
    with ends_on_signals(), WorkerPool(2) as pool:
        futures = [pool.submit(sleep) for _ in range(2)]
        futures[0].result()
"""
WITH_A_LOST_PROCESS = """
def lose():
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    set_up_logging("lost")
    def main():
        with WorkerPool(2) as pool:
            pool.submit(lose).result()
    run_entry(main)
"""
IN_A_CALL_THAT_IGNORES_IT = """
set_up_logging("call")
with ends_on_signals():
    begun()
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
"""
HELD = """
set_up_logging("held")
with ends_on_signals():
    with ended_first():
        begun()
        time.sleep(1)
        Path("ended").touch()
    time.sleep(600)
"""
WHILE_THREADS_EMBED = """
import numpy as np
from pipeline.models.embed_images import embed_by_threads

def embed(pixels):
    begun()
    time.sleep(0.3)
    return np.zeros((1, 2), np.float32)

set_up_logging("threads")
with ends_on_signals():
    images = [np.zeros((2, 2, 3), np.uint8)] * 1000
    for _ in embed_by_threads(embed, images, [[row] for row in range(1000)], 2, "embed"):
        pass
"""
WITH_FILES = """
set_up_logging("files")
with ends_on_signals():
    try:
        begun()
        time.sleep(600)
    finally:
        time.sleep(0.5)
        Path("removed").touch()
"""


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    """Start a program in a group of its own, and return when it says that it has begun."""
    (folder / "program.py").write_text(START + text)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: (folder / "started").exists() or process.poll() is not None)
    return process


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("pool", IN_A_POOL),
        ("threads", WHILE_THREADS_EMBED),
        ("call", IN_A_CALL_THAT_IGNORES_IT),
        ("files", WITH_FILES),
    ],
)
def test_a_signal_ends_a_process_and_its_children_in_one_line(
    number: signal.Signals, by: str, name: str, program: str, tmp_path: Path
) -> None:
    process = start(tmp_path, program)
    children = psutil.Process(process.pid).children(recursive=True)
    # As a terminal does it, Ctrl-C reaches all; `kill` reaches one.
    (os.killpg if by == "Ctrl-C" else os.kill)(process.pid, number)
    assert process.communicate(timeout=60)[1] == f"{name}: stopped by {by}\n"
    assert process.returncode == 128 + number
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert (tmp_path / "removed").exists() == (name == "files")


@pytest.mark.parametrize(
    "_attempt", [0, *(pytest.param(each, marks=pytest.mark.long) for each in range(1, 40))]
)
def test_a_process_that_a_pool_loses_is_one_line(_attempt: int, tmp_path: Path) -> None:
    """Often: the pool's own thread frees semaphores meanwhile, of which Python warns."""
    (tmp_path / "program.py").write_text(START + WITH_A_LOST_PROCESS)
    ran = run_module(tmp_path, "program")
    assert (ran.returncode, ran.stderr) == (1, f"lost: {LOST_WORKER}\n")


def test_a_pool_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, IN_A_POOL)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_a_second_ctrl_c_does_not_interrupt_what_the_first_began(tmp_path: Path) -> None:
    process = start(tmp_path, WITH_FILES)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.communicate(timeout=60)[1] == "files: stopped by Ctrl-C\n"
    assert (tmp_path / "removed").exists()


def test_a_block_that_is_to_end_first_ends(tmp_path: Path) -> None:
    process = start(tmp_path, HELD)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "held: stopped by Ctrl-C\n"
    assert process.returncode == 130
    assert (tmp_path / "ended").exists()


def test_a_lost_process_is_told_from_other_errors() -> None:
    lost = "DataLoader worker (pid 7) is killed by signal: Killed. "
    assert is_lost_worker(RuntimeError(lost))
    assert is_lost_worker(BrokenProcessPool("abruptly terminated"))
    assert not is_lost_worker(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost_worker(ValueError("DataLoader worker (pid 7) is slow"))


class Broken:
    """A dataset whose only image cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        raise EOFError("the file ends too early")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_no_lost_process(workers: int) -> None:
    from torch.utils.data import DataLoader

    with pytest.raises(EOFError) as caught:
        list(DataLoader(Broken(), num_workers=workers))  # type: ignore[arg-type]
    assert not is_lost_worker(caught.value)


def test_a_connection_to_a_process_of_a_loader_that_breaks_is_a_lost_process() -> None:
    from torch.utils.data import DataLoader

    here, there = multiprocessing.Pipe()
    there.close()
    loaded = iter(DataLoader(range(3), num_workers=1))  # type: ignore[arg-type]
    loaded._data_queue = Mock(get=lambda timeout: here.recv() if here.poll(timeout) else None)  # type: ignore[attr-defined]
    with pytest.raises((EOFError, ConnectionError)) as caught:
        next(loaded)
    assert is_lost_worker(caught.value)
    with pytest.raises((EOFError, ConnectionError)) as elsewhere:
        here.recv()
    assert not is_lost_worker(elsewhere.value)
