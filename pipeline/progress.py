"""A progress bar on stderr, for people only: nothing is drawn where stderr is no terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def show_progress(items: Iterable[T], *, total: int | None, what: str) -> Iterator[T]:
    """Yield `items`, of which there are `total` (None: unknown), and draw how many have gone by."""
    console = Console(stderr=True)
    yield from track(
        items, description=what, total=total, console=console, disable=not console.is_terminal
    )
