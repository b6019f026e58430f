"""Import umap so that it does not compile at each start: machine code is cached on disk."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pipeline.portable_bits import USERS_NUMBA_CACHE


@contextmanager
def imported_umap() -> Iterator[ModuleType]:
    """Yield the module `umap`; what it compiles in this context is cached for the next process.

    umap imports pynndescent, which compiles itself for 15 seconds at import. We give UMAP exact
    neighbors, so pynndescent is never called and need not be compiled. UMAP's own code takes 7
    seconds to compile, and umap does not cache it.
    """
    import numba

    # Apart from the pipeline's own code, whose every change begins an empty cache.
    cache = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = os.environ.get(USERS_NUMBA_CACHE, cache)
    numba.config.DISABLE_JIT = True
    try:
        import pynndescent  # type: ignore[import-untyped]  # noqa: F401
    finally:
        numba.config.DISABLE_JIT = False
    plain = numba.njit
    numba.njit = _cached(plain)
    try:
        import umap

        yield umap
    finally:
        numba.njit = plain
        numba.config.CACHE_DIR = cache


def _cached(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return numba's decorator `plain` with its cache switched on, if it has a folder for it.

    That is the user's NUMBA_CACHE_DIR, the folder of the source, or the user's cache folder. Numba
    compiles again for another processor, another numba or a changed source.
    """

    def njit(*arguments: Any, **options: Any) -> Any:
        try:
            return plain(*arguments, **{"cache": True} | options)
        except RuntimeError:  # neither folder can be written
            return plain(*arguments, **options)

    return njit
