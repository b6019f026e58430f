"""Processes that tests start: stages, servers and the command line, as a person runs them."""

import importlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import typer

from pipeline.entry import describe
from pipeline.logs import ROOTS, set_up_logging
from tests.helpers.paths import ROOT
from tests.helpers.pools import pools_here


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


def run_stage(folder: Path, stage: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Do what `python -m stages.<stage>` does in `folder`, in this process: no seconds of imports.

    Stages as processes of their own are run by DVC in clones (tests/helpers/clone.py).
    """
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"stages.{stage}").main)
    with pools_here():
        return _run_here(app, folder, options, name=stage)


def run_lookalike(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do what `lookalike` does in `folder`, in this process: no seconds of imports."""
    return _run_here(importlib.import_module("app.cli").app, folder, arguments, name="lookalike")


def _run_here(
    app: typer.Typer, folder: Path, arguments: Sequence[str], *, name: str
) -> subprocess.CompletedProcess[str]:
    """Do what `run_entry` of a program does, but for signals; lines of errors begin with `name`."""
    out, log, status = io.StringIO(), io.StringIO(), 0
    with chdir(folder), redirect_stdout(out), redirect_stderr(log), restored_logging():
        set_up_logging(name)
        try:
            returned = app(list(arguments), standalone_mode=False)
            status = returned if isinstance(returned, int) else 0  # an int is that of typer.Exit
        except Exception as error:
            if (described := describe(error)) is None:
                raise
            text, status = described
            set_up_logging(name)  # the app may have set up another name
            logging.getLogger("stages").error(text)
    command = [name, *arguments]
    return subprocess.CompletedProcess(command, status, out.getvalue(), log.getvalue())


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo `set_up_logging` at the end of the block, so that caplog gets what is logged later."""
    loggers = [logging.getLogger(root) for root in ROOTS]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
