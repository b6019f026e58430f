"""Vectors of unit length, and the bounds of scores that are summed in different orders."""

import faiss
import numpy as np
import pytest

from pipeline.index.build import FAISS_METRICS
from pipeline.index.distances import (
    GalleryScorer,
    have_unit_length,
    prepare_vectors,
    score_pairs,
    subtract,
    to_unit_length,
)
from pipeline.index.search import scores_from_faiss


def random_vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    lengths = rng.choice([1e-20, 1e-3, 1, 1e15], size=(300, 1))
    vectors = (lengths * rng.normal(size=(300, 24))).astype(np.float32)
    vectors[5] = 0
    return vectors


def test_rows_get_length_one_and_a_row_of_zeros_stays() -> None:
    rows = to_unit_length(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_unit_vectors_have_the_bits_of_a_division_by_the_norm() -> None:
    """In the precision of the input: float32 in the figures, float64 in a search by cosine."""
    vectors = random_vectors()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    assert np.array_equal(to_unit_length(vectors), expected)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    expected = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    assert np.array_equal(prepare_vectors(vectors, distance="cosine"), expected)


def test_unit_length_is_recognised_up_to_rounding() -> None:
    unit = to_unit_length(random_vectors()[:5])
    assert have_unit_length(unit)
    assert not have_unit_length(unit * np.float32(1.001))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("length", [1, 7, 128, 3000])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 10.0])
def test_scores_of_pairs_lie_within_the_bounds_of_every_sum(
    distance: str, length: int, spread: float
) -> None:
    """Also if all vectors are nearly equal, so that every sum is rounded in one direction."""
    rng = np.random.default_rng(0)
    vectors = 1.1 + spread * rng.normal(size=(300, length))
    vectors = prepare_vectors(vectors.astype(np.float32), distance=distance)
    queries, gallery = vectors[:100], vectors[20:]
    scorer = GalleryScorer(gallery, distance=distance)
    all_rows = np.tile(np.arange(280), (100, 1))
    expected = score_pairs(queries, gallery, all_rows, distance=distance)

    index = faiss.IndexFlat(length, FAISS_METRICS[distance])
    index.add(scorer.vectors)
    found, rows = index.search(subtract(queries, scorer.centre), 280)
    found = scores_from_faiss(found, distance=distance)
    for scores, pair_scores in (
        (scorer.score(queries), expected),
        (found, np.take_along_axis(expected, rows, axis=1)),
    ):
        low, high = scorer.lower_bounds(scores, queries), scorer.upper_bounds(scores, queries)
        assert ((low <= pair_scores) & (pair_scores <= high)).all()
        # For unit length, or for squares up to the largest: 6e-8 of it for each term, twice.
        width = 4 * (length + 17) * 6e-8
        if distance == "cosine":
            assert (high - low).max() <= width
        else:
            largest = 4 * (vectors.astype(np.float64) ** 2).sum(axis=1).max()
            assert (low**2 - high**2).max() <= 1.1 * width * largest
