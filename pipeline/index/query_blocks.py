"""Work on many queries, block by block: on all cores, with bounded memory, results in order."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from threadpoolctl import threadpool_limits

from pipeline.progress import show_progress
from pipeline.workers import HERE, Workers

T = TypeVar("T")

# The scores of a block take at most this many bytes for each thread.
BLOCK_BYTES = 64 * 2**20
MIN_QUERIES, MAX_QUERIES = 32, 1024  # fewer would read the whole gallery for little work
COSTLY_QUERIES = 64


def map_query_blocks(
    work: Callable[[int, int], T],
    *,
    queries: int,
    gallery: int,
    costly: bool = False,
    workers: Workers = HERE,
    what: str | None = None,
) -> Iterator[T]:
    """Yield work(start, stop) for blocks of all queries, in order.

    Here, on one thread for each core; or by `workers`, for which `work` must be picklable. A block
    has as many queries as their float32 scores with the gallery fit in BLOCK_BYTES.

    queries, gallery: numbers of images. costly: a query takes long, so that a block has few, and
    each core some of them. Blocks are the same on every machine, as sums over them are added up.
    what: names the step, whose progress is shown; None: it is not.
    """
    size = max(MIN_QUERIES, min(MAX_QUERIES, BLOCK_BYTES // (4 * max(gallery, 1))))
    size = COSTLY_QUERIES if costly else size
    blocks = [(start, min(start + size, queries)) for start in range(0, queries, size)]
    done = _map_blocks(work, blocks, workers)
    yield from done if what is None else show_progress(done, total=len(blocks), what=what)


def _map_blocks(
    work: Callable[[int, int], T], blocks: list[tuple[int, int]], workers: Workers
) -> Iterator[T]:
    if not workers.are_here:
        yield from workers.map(partial(_do_alone, work), blocks)
        return
    # Each thread multiplies its own block; BLAS threads inside would compete for the cores.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda block: work(*block), blocks)


def _do_alone(work: Callable[[int, int], T], block: tuple[int, int]) -> T:
    with threadpool_limits(1, user_api="blas"):
        return work(*block)
