"""A budget of memory that requests share: what takes much waits until there is enough."""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# glibc gives back a freed block of this size or more at once. Unless it is set, the first that is
# freed raises it to as much as 32 MB, and each thread keeps what its photos took.
RETURNED_BYTES = 4 * 2**20
M_MMAP_THRESHOLD = -3  # of malloc.h


def return_freed_memory() -> None:
    """Let the memory of photos leave this process when they have been searched, where it can."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES)


class MemoryBudget:
    """Bytes that may be taken at a time. In order of arrival: who needs much is not passed by."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, count: int) -> AsyncIterator[None]:
        """Wait until `count` bytes are free, and take them; more than there are means all.

        Who has reserved must not reserve more: two of them would wait for each other.
        """
        count = min(count, self._total)
        async with self._turn:
            while self._free < count:
                self._freed.clear()
                await self._freed.wait()
            self._free -= count
        try:
            yield
        finally:
            self._free += count
            self._freed.set()
