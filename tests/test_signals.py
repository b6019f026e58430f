"""Ctrl-C and SIGTERM in stages that start processes: one line, and no process is left."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import psutil
import pytest

from pipeline.config.load import read_yaml
from pipeline.stopping import LOST_WORKER
from tests.helpers.clone import change_params, restore, runs, wait_until
from tests.helpers.processes import environment
from tests.helpers.whole_dag import list_commands

BY = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def start_stage(
    place: Path, stage: str, when: Callable[[psutil.Process], bool]
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Run a stage in a group of its own; at a moment, return it and its children.

    when: asked of the stage's process.
    """
    commands = list_commands(read_yaml(place / "params.yaml"))
    command = next(each for each in commands if f"stages.{stage} " in each)
    process = subprocess.Popen(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=place,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    it = psutil.Process(process.pid)
    wait_until(lambda: process.poll() is not None or when(it))
    return process, list_children(it)


def list_children(process: psutil.Process) -> list[psutil.Process]:
    """Return the children of a process and theirs; none of one that has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def check_end(
    place: Path,
    process: subprocess.Popen[str],
    children: list[psutil.Process],
    *,
    line: str,
    status: int,
) -> None:
    """Wait for the end of a process, and check what it says and leaves."""
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == line
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(place.rglob(".unfinished-*")) == []


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal: as a terminal does it, Ctrl-C reaches all processes; `kill` reaches one."""
    with suppress(ProcessLookupError):  # it has ended
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)


def list_workers(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a pool, or of a loader, that run.

    None before the stage ends in one line: what it imports may start processes too (`ldconfig`).
    """
    found = []
    if not catches(process, signal.SIGTERM):
        return found
    with suppress(psutil.NoSuchProcess):  # one of them has just ended
        for child in process.children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def has_workers(_: Path, process: psutil.Process) -> bool:
    return bool(list_workers(process))


def has_loaded_torch(_: Path, process: psutil.Process) -> bool:
    """Return whether a stage is about to compute, in threads, or does so."""
    with suppress(psutil.NoSuchProcess):
        torch = any("libtorch_cpu" in each.path for each in process.memory_maps())
        return torch and catches(process, signal.SIGTERM)
    return False


def has_worker(process: psutil.Process) -> bool:
    """Return whether a process is a worker now and a moment later.

    Another one looks like a worker before it has begun its own program.
    """
    before = list_workers(process)
    time.sleep(0.2)
    return bool(set(before) & set(list_workers(process)))


def catches(process: psutil.Process, number: signal.Signals) -> bool:
    """Return whether a process has a handler of this signal."""
    with suppress(OSError):  # it has ended
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line[:6] == "SigCgt")
        return bool(int(caught, 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("download", signal.SIGINT),
        ("embed", signal.SIGTERM),
        ("plot", signal.SIGINT),
        *(
            pytest.param(stage, number, marks=pytest.mark.long)
            for stage in ("download", "embed", "plot")
            for number in BY
        ),
    ],
)
def test_a_stage_with_a_pool_ends(stage: str, number: signal.Signals, clone: Path) -> None:
    change_params(clone, {"embed.workers": 2, "embed.batch_size": 1})
    at_work = has_loaded_torch if stage == "embed" else has_workers  # embed has threads
    process, children = start_stage(clone, stage, when=partial(at_work, clone))
    interrupt(process, number)
    check_end(
        clone, process, children, line=f"{stage}: stopped by {BY[number]}", status=128 + number
    )
    restore(clone)


@pytest.mark.parametrize("stage", ["download", "train"])
def test_a_process_that_is_killed_ends_the_stage(stage: str, clone: Path) -> None:
    change_params(clone, {"train.workers": 2, "train.epochs": 500})
    process, children = start_stage(clone, stage, when=has_worker)
    list_workers(psutil.Process(process.pid))[0].kill()
    check_end(clone, process, children, line=f"{stage}: {LOST_WORKER}", status=1)
    restore(clone)


@pytest.mark.parametrize("stage", ["download", "train", "plot"])
def test_a_stage_that_is_killed_leaves_no_process(stage: str, clone: Path) -> None:
    change_params(clone, {"train.workers": 2, "train.epochs": 500})
    process, children = start_stage(clone, stage, when=partial(has_workers, clone))
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=30)[1] == []
    for left in clone.rglob(".unfinished-*"):  # the next run of the stage would remove it
        shutil.rmtree(left)
    restore(clone)


def test_a_training_ends_with_its_checkpoint_and_its_run_is_no_more_running(clone: Path) -> None:
    change_params(clone, {"train.workers": 2, "train.epochs": 500})

    shutil.rmtree(clone / "checkpoints", ignore_errors=True)

    def has_an_epoch(_: psutil.Process) -> bool:
        return any((clone / "checkpoints").glob("*.pt"))

    process, children = start_stage(clone, "train", when=has_an_epoch)
    interrupt(process, signal.SIGINT)
    check_end(clone, process, children, line="train: stopped by Ctrl-C", status=130)
    assert has_an_epoch(psutil.Process())
    latest = max(runs(clone), key=lambda run: run.info.end_time or 0)  # others were killed
    assert latest.info.status == "KILLED"
    restore(clone)


@pytest.mark.long
@pytest.mark.parametrize("moment", range(40))
def test_a_stage_ends_at_any_moment(moment: int, clone: Path) -> None:
    """Also in its first seconds, when it imports, and in its last ones."""
    random = Random(moment)  # noqa: S311 - a seed
    stage = random.choice(["download", "embed", "train", "evaluate", "plot"])
    number = random.choice([*BY])
    change_params(clone, {"embed.workers": 2, "train.workers": 2, "train.epochs": 20})
    passed = time.monotonic() + random.uniform(0, 12)
    process, children = start_stage(clone, stage, when=lambda _: time.monotonic() > passed)
    interrupt(process, number)
    said = process.communicate(timeout=120)[1]
    if "Failed to import the site module" not in said:  # Python itself, before any of our code
        assert process.returncode in (0, -number, 128 + number), said
        assert "Traceback" not in said
        assert said.count("stopped by") == (process.returncode == 128 + number)
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(clone.rglob(".unfinished-*")) == []
    restore(clone)
