"""What UMAP compiles is cached for the next process, if there is a folder for it."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from pipeline.figures.umap_import import _cached, imported_umap


def test_what_is_compiled_in_the_context_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "as_umap_does.py").write_text(
        "import numba\n\n\n@numba.njit(fastmath=True)\ndef doubled(x):\n    return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plain, cache = numba.njit, numba.config.CACHE_DIR
    with imported_umap() as umap:
        assert umap.__name__ == "umap"
        compiled = importlib.import_module("as_umap_does").doubled
        assert compiled(3) == 6
    assert numba.njit is plain
    # Beside the source, not in the folder that every change of the pipeline's own code empties.
    assert list(tmp_path.glob("__pycache__/as_umap_does.doubled*.nbc"))
    assert numba.config.CACHE_DIR == cache != ""
    assert not numba.config.DISABLE_JIT


def test_without_a_folder_for_the_cache_it_is_compiled_all_the_same() -> None:
    def without_folder(function: Callable[..., Any], *, cache: bool = False) -> tuple[Any, bool]:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function, cache

    assert _cached(without_folder)(len) == (len, False)
