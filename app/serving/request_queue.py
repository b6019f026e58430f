"""The request queue: a few searches run at a time, in threads, and a bounded number waits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


class QueueFullError(Exception):
    """The queue admits no further request."""


class RequestQueue:
    """Runs at most `max_running` jobs at a time, for at most `max_admitted` requests.

    A request that waits may hold a whole upload in memory, so their number is bounded; None admits
    any number.
    """

    def __init__(self, *, max_running: int, max_admitted: int | None = None) -> None:
        self._limiter = CapacityLimiter(max_running)
        self._max_admitted = max_admitted
        self._admitted = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request as admitted until it ends; raises QueueFullError where it cannot be."""
        if self._max_admitted is not None and self._admitted >= self._max_admitted:
            raise QueueFullError
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def run(self, job: Callable[[], T]) -> T:
        """Return what `job` returns, after it waited for its turn and ran in a thread."""
        return await to_thread.run_sync(job, limiter=self._limiter)
