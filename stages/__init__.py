"""One thin Typer program a stage: read files, one call into `pipeline`, write files."""

import sys

from pipeline.launch import prepare

prepare(program=sys.argv[0] == "-m")
