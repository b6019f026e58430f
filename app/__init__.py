"""For people: the `lookalike` command. What it does to a project, a person could do by hand."""

from pathlib import Path

from pipeline import portable_bits

portable_bits.fix(Path("params.yaml"))  # before a command imports numpy or torch, which read it
