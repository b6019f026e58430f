"""For people: the `lookalike` command. What it does to a project, a person could do by hand."""

import sys
from pathlib import Path

from pipeline.launch import prepare

prepare(program=Path(sys.argv[0]).name in ("-m", "lookalike"))
