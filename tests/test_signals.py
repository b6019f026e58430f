"""Ctrl-C and SIGTERM in stages that start processes: one line, and no process is left."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.config.load import read_yaml
from tests.helpers.clone import change_params, restore, runs, wait_until
from tests.helpers.processes import environment
from tests.helpers.whole_dag import list_commands

BY = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def interrupt(
    place: Path, stage: str, *, when: Callable[[psutil.Process], bool], number: signal.Signals
) -> None:
    """Run a stage as a shell does, send it a signal at some moment, and check what it leaves."""
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
    assert process.poll() is None, "it ended before the moment came"
    children = it.children(recursive=True)
    # As a terminal does it, Ctrl-C reaches all; `kill` reaches one.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == f"{stage}: stopped by {BY[number]}"
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(place.rglob(".unfinished-*")) == []


def has_workers(process: psutil.Process) -> bool:
    """Whether the processes of a pool, or of a loader, have started."""
    return len(process.children()) > 1


@pytest.mark.parametrize("number", BY, ids=BY.values())
@pytest.mark.parametrize("stage", ["download", "embed", "plot"])
def test_a_stage_with_a_pool_ends(stage: str, number: signal.Signals, clone: Path) -> None:
    change_params(clone, {"embed.workers": 2})
    interrupt(clone, stage, when=has_workers, number=number)
    restore(clone)


def test_a_training_ends_with_its_checkpoint_and_its_run_is_no_more_running(clone: Path) -> None:
    change_params(clone, {"train.workers": 2, "train.epochs": 500})

    def has_an_epoch(_: psutil.Process) -> bool:
        return any((clone / "checkpoints").glob("*.pt"))

    interrupt(clone, "train", when=has_an_epoch, number=signal.SIGINT)
    assert any((clone / "checkpoints").glob("*.pt"))
    assert sorted(run.info.status for run in runs(clone)) == ["FINISHED", "KILLED"]
    restore(clone)
