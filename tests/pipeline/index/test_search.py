"""Search by faiss against a plain sort, and the recall of an index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.index import search
from pipeline.index.build import build_index
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.relevance import find_relevance
from pipeline.index.search import index_recall, search_index
from tests.helpers.naive_ranking import Case, cases

VECTORS = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)


@settings(deadline=None)
@given(case=cases(), k=st.integers(1, 6))
def test_a_flat_index_finds_what_a_plain_sort_finds_ties_included(case: Case, k: int) -> None:
    if not case.gallery:
        return
    own_rows = find_relevance(case.labels, case.is_query, case.is_gallery).own_rows
    index = build_index(
        case.vectors[case.is_gallery], factory="Flat", distance=case.distance, seed=0
    )
    vectors = prepare_vectors(case.vectors, distance=case.distance)
    found = search_index(
        index,
        vectors[case.is_gallery],
        vectors[case.is_query],
        own_rows,
        k,
        distance=case.distance,
    )
    place = {image: row for row, image in enumerate(case.gallery)}
    for q, query in enumerate(case.queries):
        expected = case.ranking(query)[:k]
        none = k - len(expected)
        assert found.rows[q].tolist() == [place[g] for g in expected] + [-1] * none
        scores = [case.score(query, g) for g in expected] + [-np.inf] * none
        assert found.scores[q].tolist() == scores


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_approximate_index_never_finds_the_query_itself(distance: str) -> None:
    index = build_index(VECTORS, factory="IVF16,PQ4x4", distance=distance, seed=3)
    vectors = prepare_vectors(VECTORS, distance=distance)
    own_rows = np.arange(600)
    found = search_index(index, vectors, vectors, own_rows, 10, distance=distance)
    assert not (found.rows == own_rows[:, None]).any()
    exists = found.rows >= 0
    assert (np.diff(exists.astype(int), axis=1) <= 0).all()
    assert (np.diff(np.where(exists, found.scores, -9.9), axis=1) <= 0).all()


def test_recall_is_the_share_of_the_exact_top_k_and_a_tie_counts() -> None:
    gallery = np.array([[3], [2], [2], [1], [0]], np.float32)
    query = np.array([[1]], np.float32)
    exact = np.array([[0, 1, 2]])
    options = {"gallery": gallery, "queries": query, "distance": "cosine"}
    assert index_recall(np.array([[0, 2, 3]]), exact, 2, **options).tolist() == [1]
    assert index_recall(np.array([[0, 3, 4]]), exact, 2, **options).tolist() == [0.5]
    assert index_recall(np.array([[3, 4, -1]]), exact, 3, **options).tolist() == [0]
    assert index_recall(np.array([[0, 1, -1]]), exact, 3, **options).tolist() == [
        pytest.approx(2 / 3)
    ]


def test_recall_counts_near_ties_in_another_order() -> None:
    # The exact ranking has other sums: its last row does not have the lowest score of the three.
    gallery = np.array([[3], [1], [2], [0]], np.float32)
    options = {"gallery": gallery, "queries": np.ones((1, 1), np.float32), "distance": "cosine"}
    exact = np.array([[0, 1, 2]])
    assert index_recall(np.array([[0, 2, 1]]), exact, 3, **options).tolist() == [1]
    assert index_recall(np.array([[0, 2, 3]]), exact, 3, **options).tolist() == [
        pytest.approx(2 / 3)
    ]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 6),
    size=st.sampled_from([3, 16, 100]),
    spread=st.sampled_from([0.0, 1e-8, 1e-7, 1e-6, 1.0]),
    distance=st.sampled_from(["cosine", "euclidean"]),
)
def test_a_flat_index_has_recall_one_near_ties_included(
    seed: int, k: int, size: int, spread: float, distance: str
) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, size))
    noise = rng.normal(size=(200, size)) * spread
    vectors = prepare_vectors(
        (centres[rng.integers(0, 3, 200)] + noise).astype(np.float32), distance=distance
    )
    index = build_index(vectors, factory="Flat", distance=distance, seed=0)
    own_rows = np.arange(200)
    found = search_index(index, vectors, vectors, own_rows, k, distance=distance)
    exact = GalleryScorer(vectors, distance=distance).score(vectors)
    exact[own_rows, own_rows] = -np.inf
    nearest = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    options = {"gallery": vectors, "queries": vectors, "distance": distance}
    assert index_recall(found.rows, nearest, k, **options).tolist() == [1.0] * 200


def test_many_identical_images_are_found_in_gallery_order() -> None:
    vectors = prepare_vectors(np.repeat(VECTORS[:2], [300, 300], axis=0), distance="cosine")
    index = build_index(vectors, factory="Flat", distance="cosine", seed=0)
    own_rows = np.arange(600)
    found = search_index(index, vectors, vectors, own_rows, 5, distance="cosine")
    assert found.rows[0].tolist() == [1, 2, 3, 4, 5]
    assert found.rows[2].tolist() == [0, 1, 3, 4, 5]
    assert found.rows[599].tolist() == [300, 301, 302, 303, 304]
    assert search.MAX_FETCHED >= 600


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF4,Flat", "PQ4x4"])
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_of_all_images_only_those_that_are_allowed_are_found(factory: str, share: float) -> None:
    """A flat index finds what one of the allowed images alone finds, the query itself left out."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    allowed = rng.random(400) < share
    index = build_index(vectors, factory=factory, distance="cosine", seed=1)
    own_rows = np.arange(400)
    found = search_index(index, vectors, vectors, own_rows, 5, distance="cosine", allowed=allowed)
    exists = found.rows >= 0
    assert allowed[found.rows[exists]].all()
    assert not (found.rows == own_rows[:, None]).any()
    assert (np.diff(found.scores, axis=1)[exists[:, 1:]] <= 0).all()
    if factory == "Flat":
        rows = np.flatnonzero(allowed)
        place = np.where(allowed, np.cumsum(allowed) - 1, -1)
        alone = search_index(
            build_index(vectors[rows], factory="Flat", distance="cosine", seed=1),
            vectors[rows], vectors, place, 5, distance="cosine",
        )  # fmt: skip
        assert np.array_equal(found.rows, np.where(alone.rows < 0, -1, rows[alone.rows]))
        assert exists.all()
