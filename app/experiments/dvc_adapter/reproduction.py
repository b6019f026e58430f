"""A run of the whole DAG in another folder, from nothing."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.errors import UserError


def reproduce(project: Path) -> None:
    """Run `dvc repro` in `project`; every stage really runs. What it prints is passed on.

    Nothing is logged to an MLflow server.

    Raises:
        UserError: it failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    apart = {"MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"}
    environment = {name: text for name, text in os.environ.items() if name not in apart}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"],
        cwd=project,
        env=environment | {"PATH": path},
        check=False,
    )
    if done.returncode:
        raise UserError("verify: dvc repro failed in the clone, as told above; nothing is verified")
