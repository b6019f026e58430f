"""What every stage does around its work: checked params, the log, one-line errors, the time."""

import inspect
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config.load import read_params, read_trained
from pipeline.config.schema import Params
from pipeline.entry import run_entry
from pipeline.logs import set_up_logging
from pipeline.stopping import flush_and_exit
from pipeline.stopping import is_first_process as is_first_process

PARAMS = Path("params.yaml")
TIMES = Path("logs/times")

logger = logging.getLogger(__name__)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="print details too")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print warnings and errors alone")]


def load(variant: str | None = None) -> Params:
    """Return the whole of params.yaml, checked, so that a mistake anywhere stops any stage; with
    what a variant changes, if named."""
    return read_params(PARAMS, variant=variant)


def load_trained() -> dict[str, Params]:
    """Return model -> its checked params, of `finetuned` and of each variant."""
    return read_trained(PARAMS)


def run(main: Callable[..., str | None], stage: str) -> None:
    """Run `main` as a command line, as `pipeline.entry.run_entry` does.

    `main` may return the model it worked on, which then stands in the name of its time.
    """
    set_up_logging(stage)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=sys.modules["__main__"].__doc__)(_with_log_options(_timed(main, stage), stage))
    run_entry(app)


def _with_log_options(main: Callable[..., None], stage: str) -> Callable[..., None]:
    """Return `main` with the options --verbose and --quiet, which Typer reads off its signature."""

    @wraps(main)
    def logged(*args: Any, verbose: bool, quiet: bool, **options: Any) -> None:
        set_up_logging(stage, verbose=verbose, quiet=quiet)
        main(*args, **options)

    own = inspect.signature(main)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("verbose", Verbose), ("quiet", Quiet))
    ]
    logged.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    return logged


def _timed(main: Callable[..., str | None], stage: str) -> Callable[..., None]:
    @wraps(main)
    def timed(*args: Any, **options: Any) -> None:
        started = time.monotonic()
        model = main(*args, **options)
        if is_first_process():
            # MLflow allows no "@" in the name of a metric.
            name = f"{stage}_{model}" if model else stage
            seconds = time.monotonic() - started
            _note_time(name, seconds)
            logger.info("%s%.1f s", f"{model}: " if model else "", seconds)
        # A stage closes what it opens, so nothing waits for the interpreter's end.
        flush_and_exit(0)

    return timed


def times() -> dict[str, float]:
    """Return the seconds that each stage took when it last ran in this folder."""
    found = {}
    for path in TIMES.glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):  # damaged, and not worth a word
            found[path.stem] = float(json.loads(path.read_text())["seconds"])
    return found


def _note_time(stage: str, seconds: float) -> None:
    # Unversioned on purpose: a time in a versioned file would change its hash on every run.
    with suppress(OSError):  # nor is the work lost where the time cannot be written
        TIMES.mkdir(parents=True, exist_ok=True)
        (TIMES / f"{stage}.json").write_text(json.dumps({"seconds": round(seconds, 3)}))
