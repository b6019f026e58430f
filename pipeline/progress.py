"""How far a long step is: a bar on a terminal, elsewhere a line now and then."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from pipeline.stopping import is_first_process

T = TypeVar("T")

SECONDS = 10.0  # between two lines

logger = logging.getLogger(__name__)


def show_progress(items: Iterable[T], *, total: int | None, what: str) -> Iterator[T]:
    """Yield `items` and show how many of `total` (None: unknown) are done. what: names the step.

    Of several processes that do the same, the first shows it.
    """
    console = Console(stderr=True)
    if not is_first_process():
        yield from items
    elif console.is_terminal:
        yield from track(items, description=what, total=total, console=console, transient=True)
    else:
        yield from _tell(items, total, what)


def _tell(items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    began = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= SECONDS:
            logger.info("%s: %s", what, _describe(done, total, now - began))
            told = now
        yield item


def _describe(done: int, total: int | None, seconds: float) -> str:
    """Return what is done and how long the rest takes at that rate.

    >>> _describe(250, 1000, 30), _describe(250, None, 30), _describe(9, 10, 9)
    ('250 of 1,000, 1 min 30 s left', '250', '9 of 10, 1 s left')
    """
    if total is None:
        return f"{done:,}"
    minutes, left = divmod(round(seconds / done * (total - done)), 60)
    return f"{done:,} of {total:,}, {f'{minutes:,} min ' if minutes else ''}{left} s left"
