"""What comes first in a stage or command: before its libraries, which take seconds and gigabytes to
load."""

import signal
import sys
from contextlib import suppress
from pathlib import Path

from pipeline import portable_bits

# torch with the libraries of CUDA maps 3.2 GiB, training 3.8, before any image is read.
ADDRESS_SPACE = 4 * 2**30
# The same as `pipeline.entry.MACHINES_FAULT`, which imports numpy.
MACHINES_FAULT = 1


def prepare(*, program: bool) -> None:
    """Fix the bits of this process; of a `program`, a stage or command about to run, also the rest.

    Without enough address space the process ends with one line.
    """
    if program:
        _be_silent_on_ctrl_c()
        _require_address_space()
    portable_bits.fix(Path("params.yaml"))  # numpy and torch read it when they are imported


def _be_silent_on_ctrl_c() -> None:
    """Until `ends_on_signals`, Ctrl-C would print a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _require_address_space() -> None:
    """End this process where its libraries cannot load: they would say so in tracebacks."""
    with suppress(ImportError):  # Windows, which has no such limit
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY and limit < ADDRESS_SPACE:
            sys.stderr.write(
                f"address space: found a limit of {limit / 2**30:.1f} GiB; allowed: "
                f"{ADDRESS_SPACE // 2**30} GiB or more, which the libraries need before any image "
                "is read; run: ulimit -v unlimited\n"
            )
            sys.exit(MACHINES_FAULT)
