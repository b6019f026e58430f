"""The MLflow run that the stages of one pipeline execution share."""

import os
import subprocess
from pathlib import Path

from pipeline.config.schema import Params
from pipeline.data.fingerprint import fingerprint_files, read_dataset_fingerprint
from pipeline.machine import describe_machine
from pipeline.tracking import RunIdentity
from stages.runner import project_root


def describe_run(params: Params, catalog: Path) -> RunIdentity:
    """Return what identifies this execution. catalog: the table that has the data's fingerprint.

    Raises:
        UserError: the catalog has none.
    """
    tags = {
        "git_commit": _git_commit(),
        "dvc_exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dataset": params.data.name,
        "code_fingerprint": fingerprint_files("", sorted(Path("pipeline").rglob("*.py"))),
    }
    return RunIdentity(
        root=project_root(),
        experiment=params.track.experiment,
        params=params.model_dump(),
        dataset=read_dataset_fingerprint(catalog),
        tags={name: value for name, value in tags.items() if value},
        machine=describe_machine(params.bits),
    )


def _git_commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
