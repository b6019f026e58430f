"""The MLflow run that the stages of one pipeline execution share."""

import os
import shutil
import subprocess

from pipeline.config.schema import Params
from pipeline.machine import describe_machine
from pipeline.tracking import VARIANT, RunIdentity
from stages.project_root import project_root
from stages.stage_code import fingerprint_code


def describe_run(params: Params, dataset: str, *, variant: str | None = None) -> RunIdentity:
    """Return what identifies this execution. dataset: the fingerprint in the catalog. variant: the
    training of one, which has a run of its own."""
    tags = {
        "git_commit": _git_commit(),
        "dvc_exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dataset": params.data.name,
        VARIANT: variant or "",
        "code_fingerprint": fingerprint_code(),
    }
    return RunIdentity(
        root=project_root(),
        experiment=params.track.experiment,
        params=params.model_dump(),
        dataset=dataset,
        tags={name: value for name, value in tags.items() if value},
        machine=describe_machine(params.bits),
    )


def _git_commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git
    return found.stdout.strip()
