"""The library umap without what it compiles at each start: that is compiled once, and kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def imported_umap() -> Iterator[ModuleType]:
    """Yield the module `umap`; what it compiles in this context is kept for the next process.

    umap imports pynndescent, which compiles itself at import, for 15 seconds. Exact neighbours are
    handed to UMAP here, so nothing of pynndescent is ever called and it may stay plain Python.
    What UMAP itself compiles takes 7 seconds, which it does not keep.
    """
    import numba

    numba.config.DISABLE_JIT = True
    try:
        import pynndescent  # type: ignore[import-untyped]  # noqa: F401
    finally:
        numba.config.DISABLE_JIT = False
    plain = numba.njit
    numba.njit = _keeping(plain)
    try:
        import umap

        yield umap
    finally:
        numba.njit = plain


def _keeping(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return numba's decorator `plain`, which keeps machine code where it has a place for it.

    Beside the source, or else in the user's folder of caches; numba compiles anew for another
    processor, numba or time of the source.
    """

    def njit(*arguments: Any, **options: Any) -> Any:
        try:
            return plain(*arguments, **{"cache": True} | options)
        except RuntimeError:  # no such place can be written
            return plain(*arguments, **options)

    return njit
