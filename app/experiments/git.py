"""Git: the last commit, the changes since then, files of a revision."""

import shutil
import subprocess
from pathlib import Path

from pipeline.errors import UserError


def run_git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return the output and exit status of a git command.

    Raises:
        UserError: git is not installed.
    """
    git = shutil.which("git")
    if git is None:
        raise UserError("git: found no such command; install git, or add it to PATH")
    command = [git, *arguments]  # a list: no shell reads it
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git


def head_commit() -> str:
    """Return the last commit, which new experiments start from.

    Raises:
        UserError: this is not a git repository, or it has no commit.
    """
    commit = find_commit("HEAD")
    if commit is None:
        raise UserError(
            "git: found no commit, which this command starts from; "
            "run: git init; git add --all; git commit"
        )
    return commit


def find_commit(revision: str) -> str | None:
    """Return the commit of a git revision; None if git does not know it."""
    done = run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return None if done.returncode else done.stdout.strip()


def read_file(commit: str, path: str) -> str | None:
    """Return the text of a file of the working directory as of `commit`; None without one."""
    done = run_git("show", f"{commit}:./{path}")
    return None if done.returncode else done.stdout


def diff_from_head(*paths: str) -> str:
    """Return how `paths` differ from the last commit, as a diff."""
    return run_git("diff", "HEAD", "--", *paths).stdout


def has_changes(path: Path) -> bool:
    """Return whether a file differs from the last commit; False outside a repository."""
    return bool(run_git("status", "--porcelain", "--", str(path)).stdout)


def list_remotes(root: Path) -> dict[str, str]:
    """Return the remotes of the repository whose top is `root`, by name, with the addresses that
    its configuration has; {} where it is none."""
    if not (root / ".git").exists():
        return {}
    wanted = ("--get-regexp", r"^remote\..*\.url$")
    listed = run_git("-C", str(root), "config", "--local", *wanted).stdout
    pairs = (line.partition(" ") for line in listed.splitlines())
    return {key[len("remote.") : -len(".url")]: url for key, _, url in pairs}


def clone(to: Path, commit: str) -> Path:
    """Make `to` a repository with the files of `commit`; the objects of this one are shared.

    Returns the folder in `to` that the working directory is in this repository.

    Raises:
        UserError: git cannot.
    """
    top, here = (
        run_git("rev-parse", option).stdout.strip()
        for option in ("--show-toplevel", "--show-prefix")
    )
    for arguments in (
        ("clone", "--quiet", "--shared", "--no-checkout", top, str(to)),
        ("-C", str(to), "checkout", "--quiet", "--detach", commit),
    ):
        done = run_git(*arguments)
        if done.returncode:
            raise UserError(f"git {arguments[0]}: {done.stderr.strip()}")
    return to / here
