"""The MLflow run that the stages of one pipeline execution share."""

import os
import shutil
import subprocess
from getpass import getuser

from pipeline.config.dotted_keys import flatten, keep_chosen
from pipeline.config.schema import Params
from pipeline.machine import describe_machine
from pipeline.tracking.tracker import VARIANT, RunIdentity
from stages.project_root import project_root
from stages.stage_code import fingerprint_code


def describe_run(
    params: Params, dataset: str, *, variant: str | None = None, trained: bool = True
) -> RunIdentity:
    """Return what identifies this execution. dataset: the fingerprint in the catalog. variant: the
    training of one, which has a run of its own. trained: whether anything is."""
    tags = {
        "mlflow.source.git.commit": _git_commit(),
        "dvc_exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dataset": params.data.name,
        VARIANT: variant or "",
        "code_fingerprint": fingerprint_code(),
    }
    about = {
        "mlflow.source.name": "dvc exp run" if "DVC_EXP_NAME" in os.environ else "dvc repro",
        "mlflow.source.type": "PROJECT",
        "mlflow.user": _user(),
        **{f"machine.{name}": text for name, text in describe_machine(params.bits).items()},
    }
    network = params.backbone.name.partition(":")[2] or params.backbone.name
    name = f"{network} {params.loss.name if trained else 'as it is'}"
    return RunIdentity(
        root=project_root(),
        experiment=params.track.experiment,
        name=f"{variant}: {name}" if variant else name,
        params=flatten(keep_chosen(params.model_dump())),
        dataset=dataset,
        tags={name: value for name, value in tags.items() if value},
        about=about,
        watches_system=params.track.system_metrics,
    )


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a user without a name
        return str(os.getuid())


def _git_commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git
    return found.stdout.strip()
