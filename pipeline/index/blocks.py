"""Work on many queries, block by block: on all cores, with bounded memory, in one order."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")

# A block's scores take at most so many bytes a thread.
BLOCK_BYTES = 64 * 2**20
FEWEST_QUERIES, MOST_QUERIES = 64, 1024


def over_blocks(block: Callable[[int, int], T], *, queries: int, gallery: int) -> Iterator[T]:
    """Yield block(start, stop) over all queries, in order, on as many threads as there are cores.

    A block is so many queries that their float32 scores with the gallery fit in BLOCK_BYTES.
    """
    size = max(FEWEST_QUERIES, min(MOST_QUERIES, BLOCK_BYTES // (4 * max(gallery, 1))))
    starts = range(0, queries, size)
    # Each thread multiplies its own block: BLAS threads inside would fight over the cores.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda start: block(start, min(start + size, queries)), starts)
