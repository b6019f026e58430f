"""What comes first in a stage or command."""

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

PROGRAMS = {"a stage": ["stages.embed"], "a command": ["app.cli", "query"]}


def run_within(gibibytes: int, *program: str) -> subprocess.CompletedProcess[str]:
    command = f"ulimit -v {gibibytes * 2**20}; exec {sys.executable} -m {' '.join(program)} --help"
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_too_little_address_space_is_told_before_the_libraries_load(program: list[str]) -> None:
    ran = run_within(1, *program)
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        1,
        "",
        "address space: found a limit of 1.0 GiB; allowed: 4 GiB or more, which the libraries need "
        "before any image is read; run: ulimit -v unlimited\n",
    )


@pytest.mark.slow
def test_the_libraries_load_in_as_much_as_is_asked_for() -> None:
    ran = run_within(4, "stages.train")
    assert (ran.returncode, ran.stderr) == (0, "")
