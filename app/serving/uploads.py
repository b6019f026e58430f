"""The body of a request, read within limits of bytes and time."""

import asyncio
from collections.abc import AsyncIterable

# What is too large is still taken from the wire, up to so many times the limit, and thrown away:
# a browser that is cut off while it sends never sees the answer that says why.
DISCARDED = 8


class UploadError(Exception):
    """An upload that is not taken: the status of HTTP, and the line that says why."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


async def receive(
    chunks: AsyncIterable[bytes], *, most_bytes: int, seconds: float, name: str
) -> bytes:
    """Return the whole body.

    Counted as it comes: a body need not say its length, or say it truly.

    Raises:
        UploadError: it is larger than `most_bytes`, or has not come after `seconds`.
    """
    kept = bytearray()
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                size += len(chunk)
                if size <= most_bytes:
                    kept += chunk
                elif size <= DISCARDED * most_bytes:
                    kept.clear()
                else:
                    break
    except TimeoutError:
        raise UploadError(
            408, f"{name}: found {size:,} bytes after {seconds:g} seconds; allowed: all within them"
        ) from None
    if size > most_bytes:
        raise UploadError(
            413,
            f"{name}: found more than {most_bytes / 2**20:g} MiB; allowed: up to that; "
            "make the image smaller",
        )
    return bytes(kept)
