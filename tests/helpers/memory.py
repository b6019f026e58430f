"""The memory of a process, as Linux tells it."""

from collections.abc import Callable
from pathlib import Path


def peak_above(work: Callable[[], object]) -> int:
    """Return the bytes by which `work` raised this process's memory at most."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = read_memory("self", "VmRSS")
    work()
    return read_memory("self", "VmHWM") - before


def read_memory(process: int | str, kind: str) -> int:
    """Return bytes. kind: VmRSS, what a process has, or VmHWM, the most that it had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024
