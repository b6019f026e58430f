"""`lookalike verify`: whether this machine gives the bits that dvc.lock records."""

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from app.experiments import git
from app.experiments.chosen_recipe import PARAMS
from app.experiments.dvc_adapter.lock import read_lock
from app.experiments.dvc_adapter.reproduction import reproduce
from app.experiments.evaluated_models import LOCK
from app.experiments.text_tables import align_columns
from app.experiments.verification import (
    MACHINE,
    Verified,
    read_machine,
    record_machine,
    verify_outputs,
)
from app.project import require_project
from pipeline.config.load import read_params
from pipeline.config.schema import Params
from pipeline.errors import UserError
from pipeline.machine import describe_machine
from pipeline.report.shown_params import shown_params, unrepeatable_params

COMMIT_LOCK = f"dvc repro; git add {LOCK}; git commit"

logger = logging.getLogger(__name__)


def record() -> None:
    """Write machine.json: this machine is the one that dvc.lock was made on."""
    record_machine(describe_machine(read_params(PARAMS).bits))
    print(f"wrote {MACHINE}; commit it with {LOCK}")


def verify() -> bool:
    """Run the last commit in a temporary clone; return whether it gives what dvc.lock records.

    Raises:
        UserError: this is not the root of a project; there is no commit, it has no dvc.lock or a
            damaged machine.json; or the run fails.
    """
    require_project(Path())
    commit = git.head_commit()
    text = git.read_file(commit, LOCK)
    if text is None:
        raise UserError(f"{LOCK}: not in the last commit; run: {COMMIT_LOCK}")
    recorded = read_machine(git.read_file(commit, str(MACHINE)))
    if git.has_changes(Path()):
        logger.warning("files differ from the last commit; verified is the commit")
    with TemporaryDirectory(prefix="lookalike-verify-") as scratch:
        clone = git.clone(Path(scratch) / "clone", commit)
        params = read_params(clone / PARAMS)
        for value in unrepeatable_params(shown_params(params)):
            logger.warning("%s: other bits on another processor are to be expected", value)
        _link_sources(clone, params)
        reproduce(clone)
        found = (clone / LOCK).read_text(encoding="utf-8")
    verified = verify_outputs(read_lock(text, where=LOCK), read_lock(found, where=LOCK))
    print(_format(verified))
    if verified.begins:
        print(_format_machines(recorded, describe_machine(params.bits)))
    return not verified.differing


def _link_sources(clone: Path, params: Params) -> None:
    """Let the clone find the user's own images, which git does not hold."""
    for source in (Path(params.data.source), Path(params.added.source)):
        if source.is_absolute() or not source.exists():
            continue
        place = (clone / source).resolve()
        # What git holds of it, such as a README. Nothing outside the clone is removed, to where
        # ".." or a link in git may lead.
        if place.is_dir() and clone.resolve() in place.parents:
            shutil.rmtree(place)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source.resolve())


def _format(verified: Verified) -> str:
    differing = verified.differing
    lines = [f"{'same' if same else 'differs':8}{path}" for path, same in verified.same.items()]
    lines.append(f"{len(lines)} outputs: {len(lines) - len(differing)} as in {LOCK}")
    lines[-1] += f", {len(differing)} not" if differing else ""
    if verified.changed:
        more = f" and {len(verified.changed) - 10} more" if len(verified.changed) > 10 else ""
        lines.append(
            f"{LOCK} is not of this commit, which has another {', '.join(verified.changed[:10])}"
            f"{more}; run: {COMMIT_LOCK}"
        )
    for stage, paths in verified.begins.items():
        what = ", ".join(paths)
        lines.append(f"first: {what}, of stage {stage}, which read the same files and params")
    return "\n".join(lines)


def _format_machines(recorded: dict[str, str], here: dict[str, str]) -> str:
    if not recorded:
        return (
            f"{MACHINE}: not in the last commit, so the other machine is not known; whoever "
            f"commits {LOCK} writes it with: lookalike verify --record"
        )
    names = [name for name in here if recorded.get(name) != here[name]]
    if not names:
        return (
            f"{MACHINE} names the same processor and libraries as this machine has; run it again: "
            "where two runs here differ, a stage reads what is neither a file nor a param"
        )
    rows = [[name, recorded.get(name, "-"), here[name]] for name in names]
    return align_columns([["", f"made {LOCK}", "here"], *rows])
