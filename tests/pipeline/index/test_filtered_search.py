"""One query asked of every kind of index, against a plain sort of what the index holds."""

from functools import cache
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.index.distances import pair_scores, prepare_vectors
from pipeline.index.filtered_search import distance_of, filtered_search
from pipeline.index.search import Found, build_index, search_index

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


def answers(index: Any, query: NDArray[np.float32], k: int, **options: Any) -> Found:
    return filtered_search(index, query, k, distance=distance_of(index), **options)


@cache
def build(factory: str, distance: str) -> Any:
    """Return an index that no test changes."""
    return build_index(VECTORS, factory=factory, distance=distance, seed=3)


def queries(distance: str) -> NDArray[np.float32]:
    return prepare_vectors(QUERIES, distance=distance)


def look_everywhere(index: Any) -> None:
    """Have an index look at all of its vectors, so that what it finds is known."""
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
def test_the_distance_is_told_by_the_index(factory: str, distance: str) -> None:
    assert distance_of(build(factory, distance)) == distance


# Those that hold their vectors as they are (or, in codes, tell them), so that a sort knows all.
@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    "factory",
    ["Flat", "IVF8,Flat", "HNSW16", "HNSW16,SQ8", "PQ4x4", "SQ8", "IVF8,PQ4x4", "PQ4x4,RFlat"],
)
def test_answers_are_those_of_a_plain_sort(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = faiss.clone_index(build(factory, distance))
    look_everywhere(index)
    refined = isinstance(index, faiss.IndexRefine)
    held = VECTORS if refined else index.reconstruct_n(0, N)
    held = prepare_vectors(held, distance=distance) if refined else held
    rows = np.flatnonzero(among) if among is not None else np.arange(N)
    for query in queries(distance):
        exact = pair_scores(query[None], held, rows[None], distance=distance)[0]
        expected = np.sort(exact)[::-1][:10]
        found = answers(index, query, 10, allowed=among)
        assert np.isin(found.rows, rows).all()
        assert len(set(found.rows.tolist())) == len(found.rows) == min(10, len(rows))
        assert found.scores == pytest.approx(expected, abs=2e-5)
        own = pair_scores(query[None], held, found.rows[None], distance=distance)[0]
        assert found.scores == pytest.approx(own, abs=2e-5)


@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "PQ4x4", "SQ8"])
def test_an_image_that_asks_is_left_out_as_by_a_filter(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = faiss.clone_index(build(factory, distance))
    look_everywhere(index)
    everyone = np.full(N, True) if among is None else among
    for own in (3, 4):
        others = everyone.copy()
        others[own] = False
        query = prepare_vectors(VECTORS[own : own + 1], distance=distance)[0]
        for k in (1, 10, N):
            found = answers(index, query, k, allowed=among, own=own)
            expected = answers(index, query, k, allowed=others)
            assert found.rows.tolist() == expected.rows.tolist()
            assert found.scores.tolist() == expected.scores.tolist()
            assert own not in found.rows


@pytest.mark.parametrize("among", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("own", [-1, 3])
def test_an_index_is_searched_once_for_one_answer(
    monkeypatch: pytest.MonkeyPatch, among: NDArray[np.bool_] | None, own: int
) -> None:
    index, searched = faiss.clone_index(build("Flat", "cosine")), []
    search = index.search

    def count(*asked: Any, **options: Any) -> Any:
        searched.append(asked)
        return search(*asked, **options)

    monkeypatch.setattr(index, "search", count)
    answers(index, queries("cosine")[0], 10, allowed=among, own=own)
    assert len(searched) == 1


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("among", [None, SOME, FEW], ids=["all", "some", "few"])
def test_every_kind_of_index_finds_as_many_as_there_are(
    factory: str, distance: str, among: NDArray[np.bool_] | None
) -> None:
    index = build(factory, distance)  # as it comes, so that an IVF looks into one list alone
    count = N if among is None else int(among.sum())
    for query in queries(distance):
        for k in (1, 20, 100):
            found = answers(index, query, k, allowed=among)
            assert len(found.rows) == len(set(found.rows.tolist())) == min(k, count)
            assert among is None or among[found.rows].all()
            assert (np.diff(found.scores) <= 0).all()
            assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW16", "PCA8,IVF8,Flat"])
def test_how_an_index_looks_is_as_before(factory: str) -> None:
    index = build(factory, "cosine")
    before = faiss.serialize_index(index)
    answers(index, queries("cosine")[0], 100, allowed=FEW)
    assert np.array_equal(faiss.serialize_index(index), before)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    size=st.sampled_from([3, 100]),
    spread=st.sampled_from([0.0, 1e-8, 1e-7]),
    distance=st.sampled_from(DISTANCES),
)
def test_ties_and_near_ties_stand_in_the_order_of_their_sums_and_then_of_the_gallery(
    seed: int, k: int, share: float, size: int, spread: float, distance: str
) -> None:
    rng = np.random.default_rng(seed)
    distinct = rng.integers(-1, 2, size=(4, size))
    drawn = distinct[rng.integers(0, 4, 100)] + spread * rng.normal(size=(100, size))
    vectors = prepare_vectors(drawn.astype(np.float32), distance=distance)
    allowed = rng.random(100) < share
    index = build_index(vectors, factory="Flat", distance=distance, seed=0)
    found = answers(index, vectors[0], k, allowed=allowed)
    rows = np.flatnonzero(allowed)
    scores = pair_scores(vectors[:1], vectors, rows[None], distance=distance)[0]
    order = np.lexsort((rows, -scores))[:k]
    assert found.rows.tolist() == rows[order].tolist()
    assert found.scores.tolist() == scores[order].tolist()


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_query_finds_what_many_at_once_find(distance: str) -> None:
    index, gallery = build("Flat", distance), prepare_vectors(VECTORS, distance=distance)
    asked = queries(distance)
    nobody = np.full(len(asked), -1)
    together = search_index(index, gallery, asked, nobody, 7, distance=distance)
    for place, query in enumerate(asked):
        found = answers(index, query, 7)
        assert found.rows.tolist() == together.rows[place].tolist()
        assert found.scores.tolist() == together.scores[place].tolist()


def test_an_index_that_maps_its_rows_is_asked_by_them() -> None:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(16))
    index.add_with_ids(
        prepare_vectors(VECTORS, distance="cosine")[::-1].copy(), np.arange(N)[::-1].copy()
    )
    for among in (None, SOME, FEW):
        expected = answers(build("Flat", "cosine"), queries("cosine")[0], 5, allowed=among)
        found = answers(index, queries("cosine")[0], 5, allowed=among)
        assert found.rows.tolist() == expected.rows.tolist()
