"""Work on many queries, block by block: on all cores, with bounded memory, results in order."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")

# The scores of a block take at most this many bytes for each thread.
BLOCK_BYTES = 64 * 2**20
MIN_QUERIES, MAX_QUERIES = 64, 1024


def map_query_blocks(work: Callable[[int, int], T], *, queries: int, gallery: int) -> Iterator[T]:
    """Yield work(start, stop) for blocks of all queries, in order, on one thread for each core.

    A block has as many queries as their float32 scores with the gallery fit in BLOCK_BYTES.

    queries, gallery: numbers of images.
    """
    size = max(MIN_QUERIES, min(MAX_QUERIES, BLOCK_BYTES // (4 * max(gallery, 1))))
    starts = range(0, queries, size)
    # Each thread multiplies its own block; BLAS threads inside would compete for the cores.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda start: work(start, min(start + size, queries)), starts)
