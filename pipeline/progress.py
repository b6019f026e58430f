"""A progress bar on stderr, shown only where stderr is a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def show_progress(items: Iterable[T], *, total: int | None, what: str) -> Iterator[T]:
    """Yield `items` and show how many of `total` (None: unknown) are done. what: names the bar."""
    console = Console(stderr=True)
    yield from track(
        items, description=what, total=total, console=console, disable=not console.is_terminal
    )
