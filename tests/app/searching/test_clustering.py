"""Clusters of vectors made by hand."""

import faiss
import numpy as np
import pytest

from app.searching.clustering import Clusters, cluster
from pipeline.data.arrays import Ints, Vectors
from pipeline.index.distances import DISTANCES, prepare_vectors

SIZES = (90, 60, 40, 25, 25)


def separated(dim: int = 16) -> tuple[Vectors, Ints]:
    """Return vectors around five far points, one axis each, in mixed order, and their points."""
    rng = np.random.default_rng(7)
    points = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    around = 10 * np.eye(len(SIZES), dim)[points]
    return (around + rng.normal(0, 0.2, around.shape)).astype(np.float32), points


def cluster_all(vectors: Vectors, count: int, distance: str) -> Clusters:
    prepared = prepare_vectors(vectors, distance=distance)
    return cluster(lambda rows: prepared[rows], len(vectors), count, distance=distance)


def members(clusters: Clusters) -> list[list[int]]:
    return [
        clusters.rows[clusters.place(number)].tolist() for number in range(1, len(clusters) + 1)
    ]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("moved_by", [0, 10_000])
def test_separated_groups_are_found_the_largest_first(distance: str, moved_by: int) -> None:
    vectors, points = separated()
    if distance == "euclidean":
        vectors += np.float32(moved_by)
    found = members(cluster_all(vectors, len(SIZES), distance))
    assert [len(rows) for rows in found] == list(SIZES)
    assert [set(points[rows]) for rows in found[:3]] == [{0}, {1}, {2}]
    assert {frozenset(points[rows].tolist()) for rows in found[3:]} == {
        frozenset({3}),
        frozenset({4}),
    }


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("count", [2, 7, 100])
def test_every_image_is_in_one_cluster_the_nearest_to_its_centre_first(
    distance: str, count: int
) -> None:
    vectors = np.random.default_rng(3).normal(size=(5000, 8)).astype(np.float32)
    clusters = cluster_all(vectors, count, distance)
    assert sorted(clusters.rows.tolist()) == list(range(len(vectors)))
    assert 1 < len(clusters) <= count
    sizes = np.diff(clusters.starts)
    assert (sizes > 0).all()
    assert (np.diff(sizes) <= 0).all()
    for number in range(1, len(clusters) + 1):
        assert (np.diff(clusters.scores[clusters.place(number)]) <= 0).all()


def test_scores_are_with_the_centre() -> None:
    vectors = np.array([[0, 0], [0, 2], [10, 0], [10, 4], [10, 2]], np.float32)
    clusters = cluster_all(vectors, 2, "euclidean")
    assert members(clusters) == [[4, 2, 3], [0, 1]]
    np.testing.assert_allclose(clusters.scores, [0, -2, -2, -1, -1], atol=1e-6)
    turned = cluster_all(np.array([[1, 0], [0, 2], [3, 0]], np.float32), 2, "cosine")
    assert members(turned) == [[0, 2], [1]]
    np.testing.assert_allclose(turned.scores, 1, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_same_vectors_give_the_same_clusters_in_any_number_of_threads(distance: str) -> None:
    vectors = np.random.default_rng(5).normal(size=(9000, 24)).astype(np.float32)
    made = []
    for threads in (1, 4):
        faiss.omp_set_num_threads(threads)
        made.append(cluster_all(vectors, 30, distance))
    first, second = made
    for name in ("rows", "scores", "starts"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_a_block_is_read_at_a_time() -> None:
    vectors = np.random.default_rng(5).normal(size=(20_000, 4)).astype(np.float32)
    asked: list[int] = []

    def read(rows: Ints) -> Vectors:
        asked.append(len(rows))
        return vectors[rows]

    cluster(read, len(vectors), 5, distance="euclidean")
    assert max(asked) == 1024
    assert sum(asked) == len(vectors) + 8192


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_images_are_in_one_cluster_and_no_cluster_is_empty(distance: str) -> None:
    few = np.repeat(np.eye(3, 4, dtype=np.float32), 5, axis=0)
    assert sorted(members(cluster_all(few, 10, distance))) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
    ]
    zeros = np.zeros((6, 4), np.float32)
    assert members(cluster_all(zeros, 3, distance)) == [[0, 1, 2, 3, 4, 5]]
    assert members(cluster_all(zeros[:1], 1, distance)) == [[0]]
