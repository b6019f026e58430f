"""Processes that tests start: stages, servers and the command line, as a person runs them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT


def environment() -> dict[str, str]:
    """Return this environment with this Python first, without what DVC, MLflow and git set."""
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    return outer | {"PATH": f"{Path(sys.executable).parent}:{outer['PATH']}"}


def run_module(
    folder: Path, module: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` of this working tree in `folder` and capture its output."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
