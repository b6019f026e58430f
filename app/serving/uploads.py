"""Uploads: the body of a request, received within limits of bytes and time."""

import asyncio
from collections.abc import AsyncIterable
from tempfile import SpooledTemporaryFile
from typing import IO

# A body that is too large is still received, and dropped, up to this multiple of the limit: a
# browser whose connection is closed while it sends never shows the error.
DRAIN_FACTOR = 8


# Seconds that every upload may take, and the bytes a second it must then have had on average, so
# that who sends a byte now and then keeps no place of the others for long.
GRACE = 5.0
LEAST_RATE = 32 * 2**10


# A larger body is a temporary file, which has no name, until it is searched: many at a time would
# fill the memory.
SPOOL_BYTES = 256 * 2**10


def open_spool() -> IO[bytes]:
    """Return the file that a body is written into."""
    return SpooledTemporaryFile(max_size=SPOOL_BYTES)


class UploadError(Exception):
    """An upload that is refused, with the HTTP status and the error of the response."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


async def receive_upload(
    chunks: AsyncIterable[bytes], into: IO[bytes], *, max_bytes: int, seconds: float, name: str
) -> int:
    """Write the whole body into a file, and return its number of bytes.

    Its bytes are counted as they arrive: the Content-Length header may be missing or wrong.

    Raises:
        UploadError: it is larger than `max_bytes`, has not arrived within `seconds`, or arrives at
            less than LEAST_RATE after GRACE, or the file's disk is full.
    """
    size = 0
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(min(seconds, GRACE)) as limit:
            async for chunk in chunks:
                size += len(chunk)
                limit.reschedule(begun + min(seconds, GRACE + size / LEAST_RATE))
                if size <= max_bytes:
                    into.write(chunk)
                elif size <= DRAIN_FACTOR * max_bytes:
                    into.truncate(0)
                else:
                    break
    except TimeoutError:
        taken = asyncio.get_running_loop().time() - begun
        raise UploadError(
            408,
            f"{name}: found {size:,} bytes after {taken:.1f} seconds; allowed: all within "
            f"{seconds:g} seconds, and {LEAST_RATE // 2**10} KiB a second",
        ) from None
    except OSError as error:
        raise UploadError(
            507, f"{name}: cannot be kept while it is searched ({error.strerror}); set TMPDIR"
        ) from None
    if size > max_bytes:
        most = f"{max_bytes / 2**20:g} MiB"
        raise UploadError(
            413, f"{name}: found more than {most}; allowed: at most {most}; make the image smaller"
        )
    return size
