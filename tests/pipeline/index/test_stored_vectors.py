"""The vectors of an index by row: exact where it keeps them, near them where it has codes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.index.build import build_index, read_index, write_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.stored_vectors import StoredVectors, keeps_vectors

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(2000, 16)) + 50).astype(np.float32)  # so far away that it is centred
ROWS = np.array([1999, 0, 7, 7, 1024])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    ("factory", "error"),
    [
        *(("Flat", 1e-5), ("HNSW8", 1e-5), ("IVF8,Flat", 1e-5), ("IVF8,PQ4x4,RFlat", 1e-5)),
        *(("SQ8", 0.1), ("IVF8,SQ8", 0.1)),
    ],
)
def test_a_row_is_read_as_it_was_given(
    tmp_path: Path, factory: str, error: float, distance: str
) -> None:
    index = build_index(VECTORS, factory=factory, distance=distance, seed=1)
    write_index(tmp_path, index, [str(n) for n in range(len(VECTORS))])
    stored = StoredVectors(read_index(tmp_path)[0])
    expected = prepare_vectors(VECTORS, distance=distance)[ROWS]
    assert stored.read(ROWS) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize(
    ("factory", "kept"),
    [
        *(("Flat", True), ("HNSW8", True), ("IVF8,PQ4x4", True), ("OPQ4,IVF8,PQ4x4", True)),
        *(("PCA8,Flat", False), ("IVF8,PQ4x4fs", False), ("IVF8,RaBitQ", False)),
        ("IVF8,PQ4x4fs,RFlat", True),
    ],
)
def test_which_kinds_keep_their_vectors(factory: str, kept: bool) -> None:
    index = build_index(VECTORS, factory=factory, distance="cosine", seed=1)
    assert keeps_vectors(index) == kept


def test_an_empty_index_has_none() -> None:
    stored = StoredVectors(build_index(VECTORS[:0], factory="Flat", distance="cosine", seed=0))
    assert stored.read(np.empty(0, np.int64)).shape == (0, 16)
