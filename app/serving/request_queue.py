"""Who searches now and who waits: a few at once, in threads, the others in line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


class QueueFullError(Exception):
    """Too many wait already."""


class RequestQueue:
    """At most `at_once` pieces of work at a time, and at most `places` here in all.

    Each who waits may hold a whole upload in memory, so the places are bounded.
    """

    def __init__(self, *, at_once: int, places: int) -> None:
        self._limiter = CapacityLimiter(at_once)
        self._places = places
        self._here = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in line; raises LineFullError where there is none."""
        if self._here >= self._places:
            raise QueueFullError
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1

    async def work(self, job: Callable[[], T]) -> T:
        """Return what `job` returns, done in a thread when it is its turn."""
        return await to_thread.run_sync(job, limiter=self._limiter)
