"""The entry of every stage and command: what stops it becomes one line and an exit status."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.data.files import final_path
from pipeline.errors import UserError, one_line
from pipeline.stopping import (
    LAUNCHED,
    LOST_WORKER,
    end_at_once,
    end_with_launcher,
    ends_on_signals,
    is_lost_peer,
    is_lost_worker,
)

# Of the person who runs it, and of the machine; a fault of ours is a traceback, with Python's 1.
USERS_FAULT, MACHINES_FAULT = 2, 1

REMEDIES = {
    errno.ENOSPC: "free some",
    errno.EDQUOT: "free some, or ask for a larger quota",
    errno.EFBIG: "raise the limit: ulimit -f",
    errno.EROFS: "write to another disk, or mount this one for writing",
    errno.EEXIST: "a file is where a folder is needed; move it away",
    errno.ENOTDIR: "a file is where a folder is needed; move it away",
    errno.EISDIR: "a folder is where a file is needed; move it away",
    errno.EACCES: "give yourself the right, or run it as who has it",
    errno.EPERM: "give yourself the right, or run it as who has it",
    errno.EMFILE: "raise the limit: ulimit -n",
    errno.EIO: "the disk or its connection fails; try another",
}
# In the RuntimeErrors of torch, on a processor and on a GPU, and of faiss.
OF_MEMORY = ("can't allocate memory", "CUDA out of memory", "std::bad_alloc")
NO_MEMORY = (
    "memory ran out ({}); free some, raise the limit (ulimit -v), or lower batch sizes, workers or "
    "backbone.image_size"
)

logger = logging.getLogger(__name__)


def run_entry(app: Callable[[], object], *, before_error: Callable[[], None] | None = None) -> None:
    """Run a command line, and end this process if it is stopped.

    Status 2: a `UserError`. Status 1: a fault of the machine (`describe_fault`) or a process that
    was lost. 130, 143: Ctrl-C, SIGTERM (`ends_on_signals`). Each is one line on stderr.

    before_error: called before a line is logged.
    """
    end_with_launcher()
    try:
        with ends_on_signals():
            app()
    except Exception as error:
        if is_lost_worker(error):
            # At the end of each other worker, torch would raise once more, in the midst of this.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if is_lost_peer(error):
            end_at_once(MACHINES_FAULT)
        if (described := describe(error)) is None:
            raise
        text, status = described
        _tell(text, before_error)
        if is_lost_worker(error):
            end_at_once(status)
        sys.exit(status)


def describe(error: Exception) -> tuple[str, int] | None:
    """Return what to say of an error, and the status; None for a fault of ours, a traceback."""
    if isinstance(error, UserError):
        return str(error), USERS_FAULT
    if is_lost_worker(error):
        return LOST_WORKER, MACHINES_FAULT
    text = describe_fault(error)
    return None if text is None else (text, MACHINES_FAULT)


def describe_fault(error: Exception) -> str | None:
    """Return what to say of an error that memory, a disk or a right gives; None for any other.

    >>> describe_fault(PermissionError(errno.EACCES, "Permission denied", "models/a"))
    'models/a: permission denied; give yourself the right, or run it as who has it'
    >>> describe_fault(ValueError("of ours")) is None
    True
    """
    text = one_line(error)
    if isinstance(error, MemoryError) or any(each in text for each in OF_MEMORY):
        return NO_MEMORY.format(text[:200])
    if isinstance(error, OSError) and error.errno in REMEDIES:
        where = (
            "" if error.filename is None else f"{final_path(Path(os.fsdecode(error.filename)))}: "
        )
        return f"{where}{os.strerror(error.errno).lower()}; {REMEDIES[error.errno]}"
    return None


def _tell(text: str, before_error: Callable[[], None] | None) -> None:
    if before_error is not None:
        before_error()
    if told := os.environ.get(LAUNCHED):
        Path(told, os.environ.get("RANK", "0")).write_text(text, encoding="utf-8")
    else:
        logger.error(text)
