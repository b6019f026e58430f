"""What every stage does around its work: checked params, one-line errors, the time it took."""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from pipeline.config.load import Params, read_params
from pipeline.errors import UserError

PARAMS = Path("params.yaml")
TIMES = Path("logs/times")


def load() -> Params:
    """Return the whole of params.yaml, checked, so that a mistake anywhere stops any stage."""
    return read_params(PARAMS)


def run(main: Callable[..., str | None], stage: str) -> None:
    """Run `main` as a command line; a UserError becomes one line on stderr and exit status 1.

    `main` may return the model it worked on, which then stands in the name of its time.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=sys.modules["__main__"].__doc__)(_timed(main, stage))
    try:
        app()
    except UserError as error:
        if is_first_process():  # torchrun starts many, and all of them say the same
            print(f"{stage}: {error}", file=sys.stderr)
        sys.exit(1)


def _timed(main: Callable[..., str | None], stage: str) -> Callable[..., None]:
    @wraps(main)
    def timed(*args: Any, **options: Any) -> None:
        started = time.monotonic()
        model = main(*args, **options)
        if is_first_process():
            # MLflow allows no "@" in the name of a figure.
            name = f"{stage}_{model}" if model else stage
            _note_time(name, time.monotonic() - started)
        _leave()

    return timed


def _leave() -> None:
    # A stage closes what it opens, so nothing waits for the interpreter's end. To take the
    # libraries apart in memory first costs each process that imports torch 1 to 3 seconds.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def is_first_process() -> bool:
    """Whether this process writes the files: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def times() -> dict[str, float]:
    """Return the seconds that each stage took when it last ran in this folder."""
    return {path.stem: json.loads(path.read_text())["seconds"] for path in TIMES.glob("*.json")}


def _note_time(stage: str, seconds: float) -> None:
    # Unversioned on purpose: a time in a versioned file would change its hash on every run.
    TIMES.mkdir(parents=True, exist_ok=True)
    (TIMES / f"{stage}.json").write_text(json.dumps({"seconds": round(seconds, 3)}))
    print(f"{stage}: {seconds:.1f} s", file=sys.stderr)
