"""How thoroughly an index searches: the least by which it finds what was asked."""

import logging
from pathlib import Path

import faiss
import numpy as np
import pytest

from pipeline.index.build import build_index, read_index, write_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.effort import K, choose_effort, find_effort
from pipeline.index.filtered_search import filtered_search
from pipeline.index.kinds import LEAST_TRAINING, choose_factory, sample_rows

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
# 300 groups of 20, as photos of one thing are, far from the origin for the Euclidean distance.
CENTRES = 4 * RNG.normal(size=(300, 16))
VECTORS = (np.repeat(CENTRES, 20, axis=0) + RNG.normal(size=(6000, 16)) + 9).astype(np.float32)
QUERIES = RNG.choice(len(VECTORS), 300, replace=False)


def recall_of(index: faiss.Index, distance: str) -> float:
    """The share of the K nearest others that the index finds, by a plain sort of all distances."""
    prepared = prepare_vectors(VECTORS, distance=distance).astype(np.float64)
    found = 0
    for query in QUERIES:
        if distance == "cosine":
            nearness = prepared @ prepared[query]
        else:
            nearness = -np.linalg.norm(prepared - prepared[query], axis=1)
        nearness[query] = -np.inf
        exact = set(np.argsort(-nearness, kind="stable")[:K].tolist())
        rows = index.search(prepared[query : query + 1].astype(np.float32), K + 1)[1][0].tolist()
        found += len(exact & set([row for row in rows if row != query][:K]))
    return found / (K * len(QUERIES))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "factory", ["IVF64,Flat", "IVF64,PQ8x4,RFlat", "PCA8,IVF32,PQ4x4,RFlat", "HNSW8"]
)
def test_it_is_the_least_of_which_the_recall_is_reached(factory: str, distance: str) -> None:
    options = {"distance": distance, "recall": 0.9}
    index = build_index(VECTORS, factory=factory, distance=distance, seed=1)
    reached = choose_effort(index, VECTORS, QUERIES, **options)
    assert reached is not None
    assert reached >= 0.9
    assert recall_of(index, distance) == pytest.approx(reached, abs=0.002)
    for knob in find_effort(index):
        if (chosen := knob.value) > 1:
            knob.set(chosen // 2)
            assert recall_of(index, distance) < 0.9, knob.name
            knob.set(chosen)


def test_what_is_chosen_is_in_the_file_and_used_by_queries(tmp_path: Path) -> None:
    index = build_index(VECTORS, factory="IVF64,PQ8x4,RFlat", distance="cosine", seed=1)
    reached = choose_effort(index, VECTORS, QUERIES, distance="cosine", recall=0.9)
    write_index(tmp_path, index, [str(n) for n in range(len(VECTORS))])
    again = read_index(tmp_path)[0]
    assert recall_of(again, "cosine") == pytest.approx(reached, abs=0.002)
    prepared = prepare_vectors(VECTORS, distance="cosine")
    query = prepared[QUERIES[0]]
    expected = again.search(query[None], K)[1][0]
    assert filtered_search(again, query, K, distance="cosine").rows.tolist() == expected.tolist()


def test_a_recall_that_cannot_be_reached_is_told(caplog: pytest.LogCaptureFixture) -> None:
    index = build_index(VECTORS, factory="IVF64,PQ2x4", distance="cosine", seed=1)
    with caplog.at_level(logging.WARNING):
        reached = choose_effort(index, VECTORS, QUERIES, distance="cosine", recall=0.99)
    assert reached is not None
    assert reached < 0.6
    assert caplog.messages == [
        f"index.recall: {reached:.3f} of the 10 nearest are found with all that this index can do; "
        "asked: 0.99; allowed: less, or another index.factory"
    ]
    assert [knob.value for knob in find_effort(index)] == [64]
    assert recall_of(index, "cosine") == pytest.approx(reached, abs=0.002)


@pytest.mark.parametrize("factory", ["SQ8", "PQ4x4"])
def test_where_nothing_can_be_chosen_the_recall_is_told(
    factory: str, caplog: pytest.LogCaptureFixture
) -> None:
    index = build_index(VECTORS, factory=factory, distance="cosine", seed=1)
    assert find_effort(index) == []
    with caplog.at_level(logging.WARNING):
        reached = choose_effort(index, VECTORS, QUERIES, distance="cosine", recall=0.9)
    assert recall_of(index, "cosine") == pytest.approx(reached, abs=0.002)
    assert bool(caplog.messages) == (factory == "PQ4x4")


def test_an_exact_index_has_nothing_to_choose() -> None:
    index = build_index(VECTORS, factory="Flat", distance="euclidean", seed=1)
    assert choose_effort(index, VECTORS, QUERIES, distance="euclidean", recall=0.9) is None


def test_few_images_need_nothing() -> None:
    index = build_index(VECTORS[:10], factory="HNSW8", distance="cosine", seed=1)
    assert choose_effort(index, VECTORS[:10], np.arange(3), distance="cosine", recall=0.9) is None


def test_the_factory_that_auto_chooses_is_one_that_faiss_knows() -> None:
    for dimension in (1, 3, 17, 96, 128, 1280, 2048):
        factory = choose_factory("auto", images=1_000_001, dimension=dimension)
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        assert [knob.name for knob in find_effort(index)] == ["nprobe", "k_factor"]
        assert faiss.downcast_index(index.base_index).pq.M <= 64


def test_training_is_on_a_sample_that_knows_the_seed() -> None:
    index = faiss.index_factory(8, "IVF2048,Flat")
    rows = sample_rows(index, 500_000, seed=1)
    assert len(rows) == 64 * 2048
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == sample_rows(index, 500_000, seed=1).tolist()
    assert rows.tolist() != sample_rows(index, 500_000, seed=2).tolist()
    assert len(sample_rows(faiss.index_factory(8, "PQ4"), 500_000, seed=1)) == LEAST_TRAINING
    assert sample_rows(index, 3, seed=1).tolist() == [0, 1, 2]
