"""Scores of one meaning, summed in different orders: their bounds hold, and are near."""

import faiss
import numpy as np
import pytest

from pipeline.index.distances import Gallery, pair_scores, prepare_vectors
from pipeline.index.search import METRICS


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("length", [1, 7, 128, 3000])
@pytest.mark.parametrize("alike", [0.0, 1e-4, 10.0])
def test_pair_scores_lie_within_the_bounds_of_every_sum(
    distance: str, length: int, alike: float
) -> None:
    """Also where all vectors are nearly alike, and a constant rounds in one direction only."""
    rng = np.random.default_rng(0)
    vectors = 1.1 + alike * rng.normal(size=(300, length))
    vectors = prepare_vectors(vectors.astype(np.float32), distance=distance)
    queries, gallery = vectors[:100], Gallery(vectors[20:], distance=distance)
    everyone = np.tile(np.arange(280), (100, 1))
    exact = pair_scores(queries, vectors[20:], everyone, distance=distance)

    index = faiss.IndexFlat(length, METRICS[distance])
    index.add(vectors[20:])
    found, rows = index.search(queries, 280)
    if distance == "euclidean":
        found = -np.sqrt(np.maximum(found, 0))
    for scores, truth in (
        (gallery.scores(queries), exact),
        (found, np.take_along_axis(exact, rows, axis=1)),
    ):
        low, high = gallery.lowest(scores, queries), gallery.highest(scores, queries)
        assert ((low <= truth) & (truth <= high)).all()
        # Of unit length, or of squares up to the largest: 6e-8 of it a term, twice.
        width = 4 * (length + 17) * 6e-8
        if distance == "cosine":
            assert (high - low).max() <= width
        else:
            largest = 4 * (vectors.astype(np.float64) ** 2).sum(axis=1).max()
            assert (low**2 - high**2).max() <= 1.1 * width * largest
