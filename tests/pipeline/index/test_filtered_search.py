"""One query in every kind of index, against a plain sort of the vectors that the index holds."""

from functools import cache
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.index.build import build_index, distance_of
from pipeline.index.centring import strip_centring
from pipeline.index.distances import prepare_vectors, score_pairs, subtract
from pipeline.index.filtered_search import filtered_search
from pipeline.index.search import Neighbors, search_index

N = 400
VECTORS = np.random.default_rng(0).normal(size=(N, 16)).astype(np.float32)
QUERIES = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
FACTORIES = [
    "Flat",
    "IVF8,Flat",
    "HNSW16",
    "HNSW16,SQ8",
    "PQ4x4",
    "PQ4x4fs",
    "SQ8",
    "IVF8,PQ4x4",
    "IVF8,SQ8",
    "IVF8,PQ4x4fs",
    "PCA8,Flat",
    "OPQ4_16,IVF8,PQ4x4",
    "PQ4x4,RFlat",
    "IVF8,PQ4x4,RFlat",
    "NSG8,Flat",
]
DISTANCES = ["cosine", "euclidean"]
SOME = np.random.default_rng(2).random(N) < 0.3
FEW = np.isin(np.arange(N), [3, 99, 250])


def search_one(index: Any, query: NDArray[np.float32], k: int, **options: Any) -> Neighbors:
    return filtered_search(index, query, k, distance=distance_of(index), **options)


@cache
def build(factory: str, distance: str) -> Any:
    """Return an index, which tests must not change."""
    return build_index(VECTORS, factory=factory, distance=distance, seed=3)


def prepare_queries(distance: str) -> NDArray[np.float32]:
    return prepare_vectors(QUERIES, distance=distance)


def search_exhaustively(index: Any) -> None:
    """Make an index search all of its vectors, so that its result is known."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = ivf.nlist
        ivf.make_direct_map()
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = N
    if isinstance(index, faiss.IndexRefine):
        index.k_factor = N


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_knows_its_distance(factory: str, distance: str) -> None:
    assert distance_of(build(factory, distance)) == distance


# Kinds that can return the vectors they hold, so that a sort can use them.
@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    "factory",
    ["Flat", "IVF8,Flat", "HNSW16", "HNSW16,SQ8", "PQ4x4", "SQ8", "IVF8,PQ4x4", "PQ4x4,RFlat"],
)
def test_neighbors_are_those_of_a_plain_sort(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = faiss.clone_index(build(factory, distance))
    search_exhaustively(index)
    refined = isinstance(index, faiss.IndexRefine)
    held = VECTORS if refined else index.reconstruct_n(0, N)
    held = prepare_vectors(held, distance=distance) if refined else held
    rows = np.flatnonzero(among) if among is not None else np.arange(N)
    for query in prepare_queries(distance):
        exact = score_pairs(query[None], held, rows[None], distance=distance)[0]
        expected = np.sort(exact)[::-1][:10]
        found = search_one(index, query, 10, allowed=among)
        assert np.isin(found.rows, rows).all()
        assert len(set(found.rows.tolist())) == len(found.rows) == min(10, len(rows))
        assert found.scores == pytest.approx(expected, abs=2e-5)
        scores = score_pairs(query[None], held, found.rows[None], distance=distance)[0]
        assert found.scores == pytest.approx(scores, abs=2e-5)


@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "PQ4x4", "SQ8"])
def test_the_querys_own_image_is_left_out_as_by_a_filter(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = faiss.clone_index(build(factory, distance))
    search_exhaustively(index)
    allowed = np.full(N, True) if among is None else among
    for own_row in (3, 4):
        others = allowed.copy()
        others[own_row] = False
        query = prepare_vectors(VECTORS[own_row : own_row + 1], distance=distance)[0]
        for k in (1, 10, N):
            found = search_one(index, query, k, allowed=among, own_row=own_row)
            expected = search_one(index, query, k, allowed=others)
            assert found.rows.tolist() == expected.rows.tolist()
            assert found.scores.tolist() == expected.scores.tolist()
            assert own_row not in found.rows


@pytest.mark.parametrize("among", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("own_row", [None, 3])
def test_an_index_is_searched_once_for_one_query(
    monkeypatch: pytest.MonkeyPatch, among: NDArray[np.bool_] | None, own_row: int | None
) -> None:
    index, searches = faiss.clone_index(build("Flat", "cosine")), []
    search = index.search

    def count(*arguments: Any, **options: Any) -> Any:
        searches.append(arguments)
        return search(*arguments, **options)

    monkeypatch.setattr(index, "search", count)
    search_one(index, prepare_queries("cosine")[0], 10, allowed=among, own_row=own_row)
    assert len(searches) == 1


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
def test_every_kind_of_index_finds_all_allowed_images(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = build(factory, distance)  # with its defaults: an IVF searches one list only
    count = N if among is None else int(among.sum())
    for query in prepare_queries(distance):
        for k in (1, 20, 100):
            found = search_one(index, query, k, allowed=among)
            assert len(found.rows) == len(set(found.rows.tolist())) == min(k, count)
            assert among is None or among[found.rows].all()
            assert (np.diff(found.scores) <= 0).all()
            assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW16", "PCA8,IVF8,Flat"])
def test_a_search_does_not_change_the_index(factory: str) -> None:
    index = build(factory, "cosine")
    before = faiss.serialize_index(index)
    search_one(index, prepare_queries("cosine")[0], 100, allowed=FEW)
    assert np.array_equal(faiss.serialize_index(index), before)


@settings(deadline=None)
@example(seed=121746, k=2, share=0.1, size=3, spread=1e-7, distance="euclidean")
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    size=st.sampled_from([3, 100]),
    spread=st.sampled_from([0.0, 1e-8, 1e-7]),
    distance=st.sampled_from(DISTANCES),
)
def test_ties_and_near_ties_are_in_the_order_of_scores_and_then_of_the_gallery(
    seed: int, k: int, share: float, size: int, spread: float, distance: str
) -> None:
    rng = np.random.default_rng(seed)
    distinct = rng.integers(-1, 2, size=(4, size))
    sampled = distinct[rng.integers(0, 4, 100)] + spread * rng.normal(size=(100, size))
    vectors = prepare_vectors(sampled.astype(np.float32), distance=distance)
    allowed = rng.random(100) < share
    index = build_index(vectors, factory="Flat", distance=distance, seed=0)
    found = search_one(index, vectors[0], k, allowed=allowed)
    rows = np.flatnonzero(allowed)
    # As the index holds them: moved to their centre, they are rounded once more.
    held = subtract(vectors, strip_centring(index)[1])
    scores = score_pairs(held[:1], held, rows[None], distance=distance)[0]
    order = np.lexsort((rows, -scores))[:k]
    assert found.rows.tolist() == rows[order].tolist()
    assert found.scores.tolist() == scores[order].tolist()


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_query_finds_the_same_as_in_a_search_of_many(distance: str) -> None:
    index, gallery = build("Flat", distance), prepare_vectors(VECTORS, distance=distance)
    queries = prepare_queries(distance)
    own_rows = np.full(len(queries), -1)
    together = search_index(index, gallery, queries, own_rows, 7, distance=distance)
    for place, query in enumerate(queries):
        found = search_one(index, query, 7)
        assert found.rows.tolist() == together.rows[place].tolist()
        assert found.scores.tolist() == together.scores[place].tolist()


def test_rows_are_those_that_an_id_map_gives() -> None:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(16))
    index.add_with_ids(
        prepare_vectors(VECTORS, distance="cosine")[::-1].copy(), np.arange(N)[::-1].copy()
    )
    for among in (None, SOME, FEW):
        expected = search_one(
            build("Flat", "cosine"), prepare_queries("cosine")[0], 5, allowed=among
        )
        found = search_one(index, prepare_queries("cosine")[0], 5, allowed=among)
        assert found.rows.tolist() == expected.rows.tolist()
