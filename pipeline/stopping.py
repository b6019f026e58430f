"""Ctrl-C and `kill`: what a process started ends with it, soon, in one line and without loss.

The entry of stages and commands is `ends_on_signals`; processes are started by a `WorkerPool` or in
`unreached`.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.util import _exit_function  # type: ignore[attr-defined]
from traceback import walk_tb
from typing import Any, NoReturn, ParamSpec, TypeVar

import psutil

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
# Until then, files that were begun are removed and pools closed; in the first half of it, what is
# not to be half done ends.
SECONDS = 4.0
LOST_WORKER = (
    "a process that it started was killed, most often because memory ran out; free some, for train "
    "and embed lower their workers, and run it again"
)
LOADER = "torch.utils.data.dataloader"
LOADER_LOST = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")

# In the environment of processes that stages/torchrun.py started: the folder where each writes the
# line that it would say, in a file named by its rank. Of them all, one line is printed.
LAUNCHED = "LOOKALIKE_LAUNCHED"

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Stopped(BaseException):
    """Raised in the main thread by the first signal."""


class _Signal:
    """What this process was sent. held: blocks that end before anything stops."""

    number: int | None = None
    held = 0
    leaving = threading.Lock()


@contextmanager
def ends_on_signals() -> Iterator[None]:
    """End this process with status 130 or 143 if Ctrl-C or SIGTERM comes within the block.

    Its children are killed at once and the block is left by `Stopped`. What is not done `SECONDS`
    later is given up: a pool that waits for a lost process, or a long call of a library. After a
    signal, any exception comes of it: that of a lost process, too.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    # A handler waits until the main thread runs Python again; what is written here does not.
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(number, _stop)
    os.register_at_fork(after_in_child=_forget)
    sys.unraisablehook = _report_unraisable
    try:
        yield
    except BaseException:
        if _Signal.number is not None:
            _leave(_Signal.number)
        raise


@contextmanager
def unreached() -> Iterator[None]:
    """Let processes that are started in the block not get Ctrl-C, which a terminal sends to all.

    Each would print a traceback, and a pool can wait forever for one that held a lock. They end
    with the process that started them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerPool(ProcessPoolExecutor):
    """A pool of fresh processes that Ctrl-C does not reach, for a `with` statement.

    They end with the process that started them, however that ends; by themselves they would wait
    for its next task for ever. Left by an exception it does not wait for them, because a pool of
    which one was killed may wait for ever. Fresh (spawned): a fork would copy the threads of Arrow,
    numba or OpenMP in an unknown state, so the caller's main module must be importable.
    """

    def __init__(self, processes: int) -> None:
        spawn = get_context("spawn")
        super().__init__(processes, mp_context=spawn, initializer=_end_with_parent)

    def submit(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        """Return the future of a call in one of the processes, which are started here."""
        with unreached():
            return super().submit(function, *args, **options)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        manager = self._executor_manager_thread
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)
        if manager is not None:
            # It frees the semaphores; a process that ends meanwhile is warned of them.
            manager.join(SECONDS / 4)  # type: ignore[attr-defined]


def _end_with_parent() -> None:
    """Let this process of a pool end as soon as the one that started it has."""

    def wait_for_its_end() -> NoReturn:
        if (parent := parent_process()) is not None:
            wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def end_with_launcher() -> None:
    """Let this process of a training end as soon as stages/torchrun.py has, which started it: by
    itself it would train on beside the next one."""
    if LAUNCHED not in os.environ:
        return
    launcher = os.pidfd_open(os.getppid())

    def wait_for_its_end() -> NoReturn:
        wait([launcher])
        end_at_once(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


@contextmanager
def ended_first() -> Iterator[None]:
    """Let no signal stop the main thread before the block has ended, or half of `SECONDS` passed.

    For calls of a library that catches whatever is raised, and for what is not to be half done.
    """
    _Signal.held += 1
    try:
        yield
    finally:
        _Signal.held -= 1
        if _Signal.number is not None and not _Signal.held:
            _stop_main_thread()


def is_signaled() -> bool:
    """Return whether Ctrl-C or SIGTERM came: any error since then comes of it."""
    return _Signal.number is not None


def is_lost_worker(error: Exception) -> bool:
    """Return whether `error` says that a process of a pool or of a torch loader was killed."""
    if isinstance(error, RuntimeError) and str(error).startswith(LOADER_LOST):
        return True
    # A process that is killed while it hands over a batch breaks its connection to the loader
    # before it is known to be dead. What it could not read is sent, and raised elsewhere.
    modules = {frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__)}
    return isinstance(error, BrokenProcessPool) or (
        isinstance(error, ConnectionError | EOFError)
        and {LOADER, "multiprocessing.connection"} <= modules
    )


def is_lost_peer(error: Exception) -> bool:
    """Return whether `error` says that another process of a training is gone, which was first."""
    text = str(error)
    return (
        LAUNCHED in os.environ
        and isinstance(error, RuntimeError)
        and ("closed by peer" in text or "reset by peer" in text)
    )


def _watch(read: int) -> None:
    """Wait for a signal, kill the children, give the main thread some time, and end the process."""
    while (number := os.read(read, 1)[0]) not in SIGNALS:
        continue  # another signal that has a handler
    until = time.monotonic() + SECONDS
    while _Signal.held and time.monotonic() < until - SECONDS / 2:
        time.sleep(0.02)
    _Signal.number = number
    _kill_children()
    time.sleep(max(0, until - time.monotonic()))
    _leave(number, whole=False)


def _stop(number: int, _frame: object) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the removal of files
    _Signal.number = number
    if not _Signal.held:
        _stop_main_thread()


def _stop_main_thread() -> NoReturn:
    # torch would raise an error of its lost processes, wherever this thread is by then.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _kill_children()
    raise Stopped


def _kill_children() -> None:
    """Kill all children but those in a group of their own, which are to outlive this process."""
    group = os.getpgid(0)
    for child in psutil.Process().children(recursive=True):
        try:
            # The tracker of Python's pools removes what they leave, and then ends by itself.
            tracker = any("resource_tracker" in word for word in child.cmdline())
            if os.getpgid(child.pid) == group and not tracker:
                child.kill()
        except (psutil.Error, OSError):
            continue  # it has ended


def _report_unraisable(unraisable: Any) -> None:
    """Print an exception in a __del__ as Python does, unless it comes of a signal."""
    if _Signal.number is None:
        sys.__unraisablehook__(unraisable)


def end_at_once(status: int) -> NoReturn:
    """End this process and its children, without waiting for anything that may wait for them."""
    _kill_children()
    clearing = threading.Thread(target=_exit_function, daemon=True)
    clearing.start()  # it removes the semaphores of pools, of which Python's tracker would warn
    clearing.join(SECONDS / 4)
    flush_and_exit(status)


def _leave(number: int, *, whole: bool = True) -> None:
    """Say why, once, and end. whole: remove what pools leave, by the main thread."""
    if not _Signal.leaving.acquire(blocking=False):
        time.sleep(2 * SECONDS)  # the other thread is ending the process
    # A pipe that nobody reads would keep the line, and so this process, for ever.
    threading.Thread(target=_exit_later, args=(128 + number,), daemon=True).start()
    if is_first_process() and LAUNCHED not in os.environ:
        logger.error("stopped by %s", SIGNALS[signal.Signals(number)])
    if whole:
        end_at_once(128 + number)
    flush_and_exit(128 + number)


def _exit_later(status: int) -> NoReturn:
    time.sleep(SECONDS / 4)
    os._exit(status)


def is_first_process() -> bool:
    """Whether this process speaks and writes: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def flush_and_exit(status: int) -> NoReturn:
    """End this process without taking its libraries apart in memory, which takes seconds."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(status)


def _forget() -> None:
    """In a forked child: be ended by signals, and write none to the watcher of the parent."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
