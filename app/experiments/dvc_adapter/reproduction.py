"""Runs of the DAG: the whole in another folder, from nothing; or what a search needs, here."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UserError


def reproduce(project: Path) -> None:
    """Run `dvc repro` in `project`; every stage really runs. What it prints is passed on.

    Nothing is logged to an MLflow server.

    Raises:
        UserError: it failed.
    """
    apart = {"MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"}
    environment = {name: text for name, text in os.environ.items() if name not in apart}
    if _repro(project, environment, "--force", "--no-run-cache"):
        raise UserError("verify: dvc repro failed in the clone, as told above; nothing is verified")


def reproduce_index(project: Path) -> None:
    """Run the stages of `project` that the indexes of all models need, where something changed.

    Raises:
        UserError: one failed.
    """
    if _repro(project, os.environ, "index"):
        raise UserError("dvc repro failed, as told above; mend that, and run: dvc repro index")


def _repro(project: Path, environment: Mapping[str, str], *options: str) -> int:
    """Return the status of `dvc repro`, with the programs of this Python in its path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "dvc", "repro", *options],
        cwd=project,
        env={**environment, "PATH": path},
        check=False,
    )
    return done.returncode
