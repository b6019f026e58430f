"""Vectors far from the origin: their Euclidean distances, against sums in float64."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.measure import measure
from pipeline.index.build import build_index, distance_of, read_index, write_index
from pipeline.index.distances import GalleryScorer, find_centre, score_pairs, to_unit_length
from pipeline.index.filtered_search import filtered_search
from pipeline.index.search import search_index
from pipeline.mining.by_embeddings import mine_by_embeddings

N, OFFSET = 400, 10_000.0
CLASS = np.arange(N) % 40
ALL = np.ones(N, dtype=bool)
ALONE = np.full(N, -1)


def far_vectors(offset: float = OFFSET, *, seed: int = 0) -> np.ndarray:
    """Return float32 [N, 16] of 40 close classes, all `offset` away from the origin."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, 16))
    return (offset + centres[CLASS] + 0.3 * rng.normal(size=(N, 16))).astype(np.float32)


def exact_distances(vectors: np.ndarray) -> np.ndarray:
    """The slow oracle, float64 [N, N]; a vector is at no distance from itself."""
    wide = vectors.astype(np.float64)
    return np.linalg.norm(wide[:, None] - wide[None], axis=2)


def exact_ranking(vectors: np.ndarray) -> np.ndarray:
    """Return int64 [N, N - 1]: each image's others, nearest first, ties by row."""
    distances = exact_distances(vectors)
    np.fill_diagonal(distances, -1)
    return np.argsort(distances, axis=1, kind="stable")[:, 1:]


def exact_map(vectors: np.ndarray) -> float:
    relevant = CLASS[exact_ranking(vectors)] == CLASS[:, None]
    precision = np.cumsum(relevant, axis=1) / np.arange(1, N)
    return float(((precision * relevant).sum(axis=1) / relevant.sum(axis=1)).mean())


@pytest.mark.parametrize("offset", [0.0, 100.0, OFFSET, -OFFSET, 1e6])
def test_the_ranking_is_that_of_float64(offset: float) -> None:
    vectors = far_vectors(offset)
    labels = LabelSets(np.arange(N + 1), CLASS.astype(np.int32))
    found = measure(vectors, labels, ALL, ALL, k=[1], distance="euclidean")
    assert found.means["map"] == pytest.approx(exact_map(vectors), abs=2e-4)
    assert found.means["map"] > 0.3


def test_scores_have_the_digits_of_float32() -> None:
    vectors = far_vectors()
    scores = GalleryScorer(vectors, distance="euclidean").score(vectors[:50])
    exact = -exact_distances(vectors)[:50]
    apart = exact < -0.1  # an image has its own distance of 0, up to the root of a rounding
    assert scores[apart] == pytest.approx(exact[apart], rel=2e-5)


def test_bounds_of_scores_are_as_close_as_near_the_origin() -> None:
    vectors = far_vectors()
    scorer, queries = GalleryScorer(vectors, distance="euclidean"), vectors[:50]
    scores = scorer.score(queries)
    least, most = scorer.lower_bounds(scores, queries), scorer.upper_bounds(scores, queries)
    rows = np.tile(np.arange(N), (50, 1))
    pairs = score_pairs(queries, vectors, rows, distance="euclidean")
    assert ((least <= pairs) & (pairs <= most)).all()
    assert (most - least)[scores < -0.5].max() < 1e-3


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF4,Flat", "SQ8"])
def test_an_index_finds_the_nearest_and_moves_queries_itself(tmp_path: Path, factory: str) -> None:
    vectors = far_vectors()
    built = build_index(vectors, factory=factory, distance="euclidean", seed=0)
    write_index(tmp_path, built, [f"p{i}" for i in range(N)])
    index, _ = read_index(tmp_path)
    assert distance_of(index) == "euclidean"
    own_rows = np.arange(N)
    found = search_index(index, vectors, vectors, own_rows, 5, distance="euclidean")
    expected = exact_ranking(vectors)[:, :5]
    if factory == "Flat":
        assert np.array_equal(found.rows, expected)
        pairs = score_pairs(vectors, vectors, found.rows, distance="euclidean")
        assert np.array_equal(found.scores, pairs)
    else:
        assert (found.rows[:, 0] == expected[:, 0]).mean() > 0.85
    for row in (0, 7, 399):
        options = {"distance": "euclidean", "own_row": row}
        one = filtered_search(index, vectors[row], 5, **options)
        assert np.array_equal(one.rows, found.rows[row]) or factory == "IVF4,Flat"
        allowed = CLASS[row] != CLASS
        others = filtered_search(index, vectors[row], 3, allowed=allowed, **options)
        if factory == "Flat":
            ranking = exact_ranking(vectors)[row]
            assert others.rows.tolist() == ranking[allowed[ranking]][:3].tolist()


def test_mined_negatives_are_the_nearest() -> None:
    vectors = far_vectors()
    labels = LabelSets(np.arange(N + 1), CLASS.astype(np.int32))
    options = {"positives": "hard", "negatives": "hard", "per_anchor": 1, "seed": 0}
    mined = mine_by_embeddings(vectors, labels, distance="euclidean", **options)
    ranking = exact_ranking(vectors)
    for anchor, negative in zip(mined.anchors, mined.negatives, strict=True):
        others = ranking[anchor][CLASS[ranking[anchor]] != CLASS[anchor]]
        assert negative == others[0]


def test_only_far_vectors_of_a_euclidean_search_are_moved() -> None:
    near, far = far_vectors(0.5), far_vectors()
    assert find_centre(far, distance="cosine") is None
    assert find_centre(near, distance="euclidean") is None
    assert find_centre(to_unit_length(far), distance="euclidean") is None  # though it is tight
    assert find_centre(far[:0], distance="euclidean") is None
    centre = find_centre(far, distance="euclidean")
    assert centre is not None
    assert np.abs(centre - OFFSET).max() <= 4
    moved = far - centre
    assert np.array_equal(moved.astype(np.float64), far.astype(np.float64) - centre)  # exact


@pytest.mark.parametrize("spread", [0.01, 0.7, 1.0, 1.9, 300.0])
def test_the_centre_is_the_mean_in_steps_of_four_to_eight_spreads(spread: float) -> None:
    rng = np.random.default_rng(3)
    places = spread * rng.uniform(20, 1000, size=16)  # between the steps
    far = (places + spread * rng.normal(size=(N, 16))).astype(np.float32)
    mean = far.mean(axis=0, dtype=np.float64)
    found = np.sqrt(np.square(far - mean).mean())
    (step,) = [2.0**power for power in range(-40, 40) if 4 * found < 2.0**power <= 8 * found]
    centre = find_centre(far, distance="euclidean")
    assert centre is not None
    assert centre.tolist() == (step * np.round(mean / step)).tolist()


def test_identical_vectors_are_moved_to_the_origin() -> None:
    same = np.full((7, 3), 1234.567, np.float32)
    scores = GalleryScorer(same, distance="euclidean").score(same)
    assert (scores == 0).all()
