"""Search by faiss against a plain sort, and an index on disk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.index import search
from pipeline.index.distances import Gallery, prepare_vectors
from pipeline.index.relevance import find_relevance
from pipeline.index.search import (
    build_index,
    check_gallery,
    index_recall,
    read_index,
    search_index,
    write_index,
)
from tests.helpers.naive_ranking import Case, cases

VECTORS = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)


@settings(deadline=None)
@given(case=cases(), k=st.integers(1, 6))
def test_a_flat_index_finds_what_a_plain_sort_finds_ties_and_all(case: Case, k: int) -> None:
    if not case.gallery:
        return
    own = find_relevance(case.labels, case.is_query, case.is_gallery).own
    index = build_index(
        case.vectors[case.is_gallery], factory="Flat", distance=case.distance, seed=0
    )
    vectors = prepare_vectors(case.vectors, distance=case.distance)
    found = search_index(
        index,
        vectors[case.is_gallery],
        vectors[case.is_query],
        own,
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
def test_an_approximate_index_never_answers_with_the_query_itself(distance: str) -> None:
    index = build_index(VECTORS, factory="IVF16,PQ4x4", distance=distance, seed=3)
    vectors = prepare_vectors(VECTORS, distance=distance)
    own = np.arange(600)
    found = search_index(index, vectors, vectors, own, 10, distance=distance)
    assert not (found.rows == own[:, None]).any()
    there = found.rows >= 0
    assert (np.diff(there.astype(int), axis=1) <= 0).all()
    assert (np.diff(np.where(there, found.scores, -9.9), axis=1) <= 0).all()


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW8", "PQ4x4", "IVF8,PQ4x4", "SQ8"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_same_vectors_and_seed_give_the_same_bytes(
    tmp_path: Path, factory: str, distance: str
) -> None:
    ids = [f"p{i}" for i in range(600)]
    for name in ("a", "b"):
        index = build_index(VECTORS, factory=factory, distance=distance, seed=5)
        write_index(tmp_path / name, index, ids)
    for file in ("index.faiss", "ids.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "ids.parquet",
        "index.faiss",
    ]


@pytest.mark.parametrize("factory", ["IVF8,Flat", "PQ4x4", "IVF8,PQ4x4"])
def test_another_seed_trains_another_index(tmp_path: Path, factory: str) -> None:
    for seed in (1, 2):
        index = build_index(VECTORS, factory=factory, distance="cosine", seed=seed)
        write_index(tmp_path / str(seed), index, [f"p{i}" for i in range(600)])
    one, two = ((tmp_path / name / "index.faiss").read_bytes() for name in "12")
    assert one != two


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    ids = [f"p{i}" for i in range(600)]
    write_index(tmp_path, build_index(VECTORS, factory="Flat", distance="cosine", seed=0), ids)
    index, read = read_index(tmp_path)
    assert read == ids
    assert index.ntotal == 600


def test_recall_is_the_share_of_the_exact_top_k_and_a_tie_is_right() -> None:
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


def test_recall_forgives_near_ties_in_another_order() -> None:
    # The exact order came from sums in another order: its last is not the farthest of the three.
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
def test_a_flat_index_has_recall_one_near_ties_and_all(
    seed: int, k: int, size: int, spread: float, distance: str
) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, size))
    noise = rng.normal(size=(200, size)) * spread
    vectors = prepare_vectors(
        (centres[rng.integers(0, 3, 200)] + noise).astype(np.float32), distance=distance
    )
    index = build_index(vectors, factory="Flat", distance=distance, seed=0)
    own = np.arange(200)
    found = search_index(index, vectors, vectors, own, k, distance=distance)
    exact = Gallery(vectors, distance=distance).scores(vectors)
    exact[own, own] = -np.inf
    nearest = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    options = {"gallery": vectors, "queries": vectors, "distance": distance}
    assert index_recall(found.rows, nearest, k, **options).tolist() == [1.0] * 200


def test_a_wrong_factory_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS, factory="Flt", distance="cosine", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'Flt' (could not parse index string Flt); allowed: a faiss factory "
        "string for vectors of length 16, such as Flat, HNSW32 or IVF64,Flat"
    )


def test_a_factory_that_does_not_fit_the_length_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS, factory="PQ7", distance="cosine", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'PQ7' (The dimension of the vector (d) should be a multiple of the "
        "number of subquantizers (M)); allowed: a faiss factory string for vectors of length 16, "
        "such as Flat, HNSW32 or IVF64,Flat"
    )


def test_too_small_a_gallery_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS[:30], factory="IVF64,Flat", distance="euclidean", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'IVF64,Flat' (Number of training points (30) should be at least as "
        "large as number of clusters (64)); allowed: a factory that 30 gallery images suffice "
        "for, such as Flat"
    )


def test_a_missing_or_broken_index_says_which_stage_to_run(tmp_path: Path) -> None:
    index = build_index(VECTORS, factory="Flat", distance="cosine", seed=0)
    path = tmp_path / "index.faiss"
    write_index(tmp_path, index, [f"p{i}" for i in range(599)])
    with pytest.raises(UserError) as caught:
        read_index(tmp_path)
    assert str(caught.value) == (
        f"{path}: found 600 vectors; allowed: 599, one for each row of ids.parquet; run: dvc "
        "repro index"
    )
    path.write_bytes(b"nothing")
    with pytest.raises(UserError) as caught:
        read_index(tmp_path)
    assert str(caught.value) == f"{path}: not a faiss index; run: dvc repro index"
    path.unlink()
    with pytest.raises(UserError) as caught:
        read_index(tmp_path)
    assert str(caught.value) == (
        f"{path}: no such file; run the stage that writes it: dvc repro index"
    )


def test_an_index_of_another_gallery_is_refused() -> None:
    index = build_index(VECTORS[:2], factory="Flat", distance="cosine", seed=0)
    with pytest.raises(UserError) as caught:
        check_gallery(index, ["a", "b"], VECTORS[:2], ["b", "a"], where=Path("index/m"))
    assert str(caught.value) == (
        "index/m/ids.parquet: found 2 image_ids that are not the gallery of the splits; allowed: "
        "its 2, in its order; run: dvc repro index"
    )
    with pytest.raises(UserError) as caught:
        check_gallery(index, ["a", "b"], VECTORS[:2, :8], ["a", "b"], where=Path("index/m"))
    assert str(caught.value) == (
        "index/m/index.faiss: found vectors of length 16; the embeddings have 8; run: dvc repro "
        "index"
    )


def test_many_identical_images_are_answered_in_gallery_order() -> None:
    vectors = prepare_vectors(np.repeat(VECTORS[:2], [300, 300], axis=0), distance="cosine")
    index = build_index(vectors, factory="Flat", distance="cosine", seed=0)
    own = np.arange(600)
    found = search_index(index, vectors, vectors, own, 5, distance="cosine")
    assert found.rows[0].tolist() == [1, 2, 3, 4, 5]
    assert found.rows[2].tolist() == [0, 1, 3, 4, 5]
    assert found.rows[599].tolist() == [300, 301, 302, 303, 304]
    assert search.MOST_FETCHED >= 600
