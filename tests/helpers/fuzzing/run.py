"""Damage the files of readers, one case after another, in a process of its own.

A case is the name of a reader and a number, which is its seed. To see one again:
python -m tests.helpers.fuzzing.run "index IVF" 17 1
"""

import faulthandler
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Timer

from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

MORE_MEMORY = 2**30  # that a reader may take above what its process has
SECONDS = 10.0  # for one case
HANGS = 40.0  # then the process is killed
LONGEST = 3000  # characters of a line of an error
MOST_LINES = 60  # params.yaml has one for each key


@dataclass
class Findings:
    """What came of the cases. outcomes: (reader, outcome) -> how many. faults: a line for each."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return the numbers of each outcome, and all faults."""
        totals = Counter[str]()
        for (_, outcome), count in self.outcomes.items():
            totals[outcome] += count
        shown = ", ".join(f"{count:,} {outcome}" for outcome, count in totals.most_common())
        readers = len({reader for reader, _ in self.outcomes})
        return "\n".join([f"{totals.total():,} inputs, {readers} readers: {shown}", *self.faults])


def fuzz(readers: Sequence[str], *, cases: int, first: int = 0) -> Findings:
    """Read `cases` damaged files by each reader; a process that dies goes on after that case."""
    findings = Findings()
    todo = [(reader, first) for reader in readers]
    while todo and (died := _run_child(todo, first + cases, findings)):
        reader, number = died
        _, *rest = todo[[name for name, _ in todo].index(reader) :]
        todo = [(reader, number + 1), *rest] if number + 1 < first + cases else rest
    return findings


def _run_child(
    todo: Sequence[tuple[str, int]], end: int, findings: Findings
) -> tuple[str, int] | None:
    """Return the case at which the process died; None if it did not."""
    command = [sys.executable, "-m", "tests.helpers.fuzzing.run", json.dumps(todo), str(end)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=errors
        ) as child,
    ):
        assert child.stdout is not None
        begun: tuple[str, int] = todo[0]
        timer = Timer(HANGS, child.kill)
        timer.start()
        for line in child.stdout:
            timer.cancel()
            timer = Timer(HANGS, child.kill)
            timer.start()
            reader, number, outcome, fault = json.loads(line)
            if outcome is None:
                begun = reader, number
                continue
            findings.outcomes[reader, outcome] += 1
            if fault:
                findings.faults.append(f"{reader} {number}: {outcome}: {fault}")
        timer.cancel()
        status = child.wait()
        errors.seek(0)
        if status:
            reader, number = begun
            findings.outcomes[reader, "died"] += 1
            findings.faults.append(
                f"{reader} {number}: died with {status}: {errors.read()[-1500:]}"
            )
            return begun
    return None


def main(todo: Sequence[tuple[str, int]], end: int) -> None:
    """Run the cases of each reader from its number to `end`, and print a line before and after."""
    import app  # noqa: F401 - first: it tells torch how many threads to use
    from tests.helpers.fuzzing.readers import READERS

    faulthandler.enable()
    logging.disable()
    with tempfile.TemporaryDirectory() as made:
        for name, first in todo:
            folder = Path(made) / str(len(list(Path(made).iterdir())))
            folder.mkdir()
            limit_memory(None)
            files = READERS[name].make(folder)
            whole = {file: file.read_bytes() for file in files}
            good = repr(READERS[name].read(folder))
            put_back(whole)
            assert repr(READERS[name].read(folder)) == good, f"{name}: read twice, it differs"
            limit_memory(MORE_MEMORY)
            for number in range(first, end, READERS[name].step):
                print(json.dumps([name, number, None, ""]), flush=True)
                faulthandler.dump_traceback_later(HANGS / 2)
                outcome = run_case(name, number, folder, whole, good)
                print(json.dumps([name, number, *outcome]), flush=True)


def put_back(whole: dict[Path, bytes]) -> None:
    for file, content in whole.items():
        file.unlink(missing_ok=True)  # what is mapped into memory stays as it is
        file.write_bytes(content)


def limit_memory(more: int | None) -> None:
    """Let this process take so many bytes more than it has; None for any number."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = resource.RLIM_INFINITY if more is None else pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def run_case(
    name: str, number: int, folder: Path, whole: dict[Path, bytes], good: str
) -> tuple[str, str]:
    """Return the outcome, and what is wrong with it: "" for nothing."""
    from tests.helpers.fuzzing.damage import damage

    random = Random(f"{name} {number}")  # noqa: S311 - a case that repeats
    put_back(whole)
    file = random.choice(list(whole))
    damaged = damage(whole[file], random)
    file.unlink()
    file.write_bytes(damaged)
    began = time.monotonic()
    outcome, fault = read_damaged(name, file, folder, good, same=damaged == whole[file])
    seconds = time.monotonic() - began
    if seconds > SECONDS:
        return "slow", f"{seconds:.0f} s, {outcome}"
    return outcome, fault


def read_damaged(name: str, file: Path, folder: Path, good: str, *, same: bool) -> tuple[str, str]:
    from tests.helpers.fuzzing.readers import READERS

    reader = READERS[name]
    try:
        found = repr(reader.read(folder))
    except reader.raises as error:
        text = str(error)
        names = [file.name, folder.name] if reader.names_file else [""]
        return "refused", "the whole file was" * same or find_fault_in_text(text, names)
    except BaseException as error:
        return "another error", f"{type(error).__module__}.{type(error).__name__}: {error}"[:500]
    if found == good:
        return "read as it was", ""
    return "read as another", "" if reader.unnoticed else "nobody notices"


def find_fault_in_text(text: str, names: Sequence[str]) -> str:
    """Return what is wrong with an error: each line names the file, and can be printed."""
    from pipeline.errors import escape_unprintable

    lines = text.split("\n")
    if unnamed := [line for line in lines if not any(each in line for each in names)]:
        return f"no file is named: {unnamed[0][:300]!r}"
    if any(escape_unprintable(line) != line for line in lines):
        return f"not to be printed: {text[:300]!r}"
    if len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST:
        return f"too long, {len(lines)} lines, {len(text)} characters: {text[:300]!r}"
    return ""


if __name__ == "__main__":
    if sys.argv[1].startswith("["):
        main(json.loads(sys.argv[1]), int(sys.argv[2]))
    else:
        print(fuzz([sys.argv[1]], first=int(sys.argv[2]), cases=int(sys.argv[3])).describe())
