"""`lookalike sweep` and `lookalike tune` in a clone: run or killed, and what they leave."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.clone import git, kill_all_in, runs, wait_until
from tests.helpers.processes import environment


def lookalike(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = lookalike(*arguments)
    return subprocess.run(
        command, cwd=place, env=environment(), capture_output=True, text=True, check=False
    )


def run_and_kill(place: Path, *arguments: str) -> str:
    """Run a command until its first experiment has started, kill all in `place`; return its log.

    Changes that are not in git must still be there.
    """
    (place / "README.md").write_text("a change that is not committed\n")
    before, earlier = read_tree(place), list_started(place)
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(lookalike(*arguments), cwd=place, env=environment(), **pipes) as killed:
        try:
            wait_until(lambda: bool(list_started(place) - earlier))
        finally:
            kill_all_in(place)
        log = killed.stderr.read() if killed.stderr else ""
    assert read_tree(place) == before
    return log


def list_started(place: Path) -> set[Path]:
    """Return a file of each experiment that has started, including those that were killed."""
    return set(place.glob(".dvc/tmp/exps/tmp*/data/splits.parquet"))


def read_tree(place: Path) -> tuple[str, str]:
    """Return what differs from git, and params.yaml."""
    return git(place, "status", "--porcelain"), (place / "params.yaml").read_text()


def list_tracked_runs(clone: Path) -> dict[str, Any]:
    """Return experiment -> run of MLflow, from the clone's database."""
    found = {run.data.tags.get("dvc_exp_name"): run for run in runs(clone)}
    assert all(run.info.run_name.endswith(f" ({name})") for name, run in found.items() if name)
    return found
