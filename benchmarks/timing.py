"""Seconds and peak memory, and a fresh process for each measurement."""

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def time_call(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that `call` takes, and what it returns."""
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


def run_in_fresh_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Return work(*arguments), run in a new process: its peak memory is that of `work` alone."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_mib(who: int = resource.RUSAGE_SELF) -> float:
    """Return the peak memory of this process, or of its ended children, in MiB."""
    return resource.getrusage(who).ru_maxrss / 1024
