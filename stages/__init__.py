"""One thin Typer program a stage: read files, one call into `pipeline`, write files."""

import signal
import sys
from pathlib import Path

if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # A stage is about to be run. It imports for seconds, of which Ctrl-C would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pipeline import portable_bits

portable_bits.fix(Path("params.yaml"))  # before a stage imports numpy or torch, which read it
