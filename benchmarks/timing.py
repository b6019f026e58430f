"""Seconds and peak memory, and a fresh process for each measurement."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
T = TypeVar("T")


def time_call(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> tuple[float, T]:
    """Return the seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    value = call(*args, **options)
    return time.perf_counter() - started, value


def run_in_fresh_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Return work(*arguments), run in a new process: its peak memory is that of `work` alone."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_mib(who: int = resource.RUSAGE_SELF) -> float:
    """Return the peak memory of this process, or of its ended children, in MiB."""
    return resource.getrusage(who).ru_maxrss / 1024


@contextmanager
def memory_sampled(every: float = 0.05) -> Iterator[list[float]]:
    """Sample the memory of this process and of those that it starts, in MiB: a list, growing.

    What processes share (PSS) is counted once.
    """
    ended, samples = Event(), [_memory_mib()]

    def sample() -> None:
        while not ended.wait(every):
            samples.append(_memory_mib())

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _memory_mib() -> float:
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error):  # it ended meanwhile
            total += process.memory_full_info().pss
    return float(total / 2**20)
