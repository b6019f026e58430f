"""What stops a stage or command: one line, a status, and nothing half written."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.entry import describe_fault
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

PROGRAM = """
import errno, sys
from pathlib import Path
from pipeline.data.files import written_whole
from pipeline.entry import run_entry
from pipeline.errors import UserError
from pipeline.logs import set_up_logging

def write():
    with written_whole(Path("made/large.bin")) as (part,):
        part.write_bytes(bytes(2_000_000))

def refuse():
    raise PermissionError(errno.EACCES, "Permission denied", "made/.unfinished-1a2b/x")

def mistake():
    raise UserError("k: found 0; allowed: 1")

def need():
    bytearray(10**15)

def ours():
    raise KeyError("a")

set_up_logging("program")
run_entry(globals()[sys.argv[1]])
"""


def run(folder: Path, what: str, *, limit: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.run(
        ["bash", "-c", f"{limit} exec '{sys.executable}' program.py {what}"],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("what", "status", "line"),
    [
        ("mistake", 2, "k: found 0; allowed: 1"),
        (
            "refuse",
            1,
            "made/x: permission denied; give yourself the right, or run it as who has it",
        ),
        (
            "need",
            1,
            "memory ran out (MemoryError); free some, raise the limit (ulimit -v), or lower batch "
            "sizes, workers or backbone.image_size",
        ),
    ],
)
def test_what_a_person_or_a_machine_lacks_is_one_line(
    what: str, status: int, line: str, tmp_path: Path
) -> None:
    ran = run(tmp_path, what)
    assert (ran.returncode, ran.stderr) == (status, f"program: {line}\n")


def test_a_file_that_may_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    ran = run(tmp_path, "write", limit="ulimit -f 100;")
    assert ran.stderr == "program: made/large.bin: file too large; raise the limit: ulimit -f\n"
    assert ran.returncode == 1
    assert list((tmp_path / "made").iterdir()) == []


def test_a_fault_of_ours_stays_a_traceback(tmp_path: Path) -> None:
    ran = run(tmp_path, "ours")
    assert ran.returncode == 1
    assert ran.stderr.endswith("KeyError: 'a'\n")


@pytest.mark.parametrize("stream", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_closed_streams_do_not_matter(stream: str, tmp_path: Path) -> None:
    ran = run(tmp_path, f"mistake {stream}")
    assert ran.returncode == 2


@pytest.mark.parametrize(
    "text", ["CUDA out of memory. Tried to allocate 2 GiB", "can't allocate memory: you tried"]
)
def test_the_memory_of_a_library_is_memory(text: str) -> None:
    assert str(describe_fault(RuntimeError(text))).startswith(f"memory ran out ({text}); ")


def test_a_full_disk_is_named() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "models/a")
    assert describe_fault(full) == "models/a: no space left on device; free some"
