"""`lookalike sweep` and `lookalike tune` in a clone: run, killed, and what they left behind."""

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
    """Run a command until its first experiment has begun, kill all there, and return what it said.

    Nothing of what was not in git may have changed.
    """
    (place / "README.md").write_text("a change that is not committed\n")
    before, earlier = tree(place), begun(place)
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(lookalike(*arguments), cwd=place, env=environment(), **pipes) as killed:
        try:
            wait_until(lambda: bool(begun(place) - earlier))
        finally:
            kill_all_in(place)
        said = killed.stderr.read() if killed.stderr else ""
    assert tree(place) == before
    return said


def begun(place: Path) -> set[Path]:
    """Return a file of each experiment that has begun, those that were killed earlier included."""
    return set(place.glob(".dvc/tmp/exps/tmp*/data/splits.parquet"))


def tree(place: Path) -> tuple[str, str]:
    return git(place, "status", "--porcelain"), (place / "params.yaml").read_text()


def tracked(clone: Path) -> dict[str, Any]:
    """Return DVC's name -> MLflow's run, of the project's own database."""
    found = {run.data.tags.get("dvc_exp_name"): run for run in runs(clone)}
    assert all(run.info.run_name == name for name, run in found.items() if name)
    return found
