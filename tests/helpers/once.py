"""What takes long to build is built by one process of pytest-xdist, for all of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that the first process to ask for `name` built; do not change it."""
    own = factory.getbasetemp()
    # The processes have a folder each, in one of the session.
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    ready = shared / name / "lookalike"
    done = ready.with_name("done")
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(ready, ignore_errors=True)  # a failed run of another process
            ready.parent.mkdir(exist_ok=True)
            build(ready)
            done.touch()
    return ready
