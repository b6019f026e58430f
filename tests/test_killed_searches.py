"""Sweep and tune killed again and again: by the same command, no experiment is lost or twice."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.helpers.clone import dvc, runs, skip_drawing
from tests.helpers.processes import environment
from tests.helpers.queue_runs import lookalike, read_tree, run

pytestmark = pytest.mark.long

KILLS = 10  # of each command
RECIPES = {
    "sweep": "# Swept\ntrain: {epochs: 3}\nsweep: {train.seed: [1, 3, 5, 9]}\n",
    "tune": "# Tuned\ntrain: {epochs: 3}\ntune:\n  trials: 4\n  space:\n"
    "    optimizer.adamw.lr: {low: 0.001, high: 0.01}\n",
}


@pytest.mark.parametrize("command", RECIPES)
def test_a_search_that_is_killed_again_and_again_is_whole(command: str, clone: Path) -> None:
    if command == "sweep":
        skip_drawing(clone)
    recipe = {"sweep": "swept", "tune": "tuned"}[command]
    (clone / f"recipes/{recipe}.yaml").write_text(RECIPES[command])
    (clone / "README.md").write_text("a change that is not committed\n")
    before, random, killed = read_tree(clone), Random(command), Counter[str]()  # noqa: S311 - a case that repeats
    for _ in range(3 * KILLS):  # some end by themselves before that
        if killed.total() == KILLS:
            break
        whom = random.choice([*KILL])
        killed[whom] += run_for(clone, command, recipe, random.uniform(2, 16), KILL[whom])
    print(f"{command}: killed {dict(killed)}")
    assert killed.total() >= KILLS // 2
    wait_for_tree(clone, before)
    ran = run(clone, command, recipe, "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    assert read_tree(clone) == before
    names = [
        name
        for name in dvc(clone, "exp", "list", "--name-only").stdout.split()
        if name.startswith(recipe)
    ]
    assert len(names) == len(set(names)) == 4, names
    status = dvc(clone, "queue", "status").stdout
    states = Counter(line.split()[-1] for line in status.splitlines() if recipe in line)
    assert states == {"Success": 4}, status
    tracked = [each for each in runs(clone) if each.data.tags.get("dvc_exp_name") in names]
    finished = [each for each in tracked if each.data.tags["lookalike.complete"] == "true"]
    assert sorted(each.data.tags["dvc_exp_name"] for each in finished) == sorted(names)
    assert len(tracked) == len(finished)
    assert all("finetuned/map" in each.data.metrics for each in finished)


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_parent(process: subprocess.Popen[str]) -> None:
    process.kill()


KILL: dict[str, Callable[[subprocess.Popen[str]], None]] = {
    "group": kill_group,
    "parent alone": kill_parent,
}


def run_for(
    place: Path,
    command: str,
    recipe: str,
    seconds: float,
    kill: Callable[[subprocess.Popen[str]], None],
) -> bool:
    """Run a command and kill it after a while; return whether it still ran."""
    with subprocess.Popen(
        lookalike(command, recipe, "--jobs", "2"),
        cwd=place,
        env=environment(),
        text=True,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        time.sleep(seconds)
        ran = process.poll() is None
        with suppress(ProcessLookupError):
            kill(process)
    return ran


def wait_for_tree(place: Path, before: tuple[str, str]) -> None:
    """Wait until what a killed command was queueing is queued: DVC stashes the tree meanwhile."""
    for _ in range(60):
        if read_tree(place) == before:
            return
        time.sleep(1)
    assert read_tree(place) == before
