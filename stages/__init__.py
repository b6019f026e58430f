"""One thin Typer program a stage: read files, one call into `pipeline`, write files."""

from pathlib import Path

from pipeline import portable_bits

portable_bits.fix(Path("params.yaml"))  # before a stage imports numpy or torch, which read it
