"""For people: the `lookalike` command. What it does to a project, a person could do by hand."""

import signal
import sys
from pathlib import Path

if (
    Path(sys.argv[0]).name in ("-m", "lookalike")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # A command is about to be run. Until `ends_on_signals`, Ctrl-C would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pipeline import portable_bits

portable_bits.fix(Path("params.yaml"))  # before a command imports numpy or torch, which read it
