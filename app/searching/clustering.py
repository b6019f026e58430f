"""Groups of images that a model finds similar: k-means of their vectors."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.index.distances import find_centre, subtract

MIN_CLUSTERS, MAX_CLUSTERS = 2, 100
SAMPLE = 8192  # vectors that the centres are found by: 80 for each of the most clusters
ROWS_AT_ONCE = 1024
ITERATIONS = 20
ATTEMPTS = 4  # from other first centres; the one whose images are nearest to theirs is kept
SEED = 20


@dataclass(frozen=True)
class Clusters:
    """N images in K clusters, the largest first; each has an image or more.

    rows: int64 [N], each row once: those of the first cluster, nearest to its centre first, then
    those of the next. scores: float32 [N], of `rows` with their centres: the cosine, or minus the
    Euclidean distance. starts: int64 [K + 1], where each cluster begins in `rows`, and N.
    """

    rows: Ints
    scores: Scores
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def place(self, number: int) -> slice:
        """Return where the images of a cluster are; number: 1 for the largest."""
        first, last = self.starts[number - 1 : number + 1].tolist()
        return slice(first, last)


def default_count(images: int) -> int:
    """Return into how many clusters so many images are grouped.

    >>> [default_count(images) for images in (1, 40, 2688, 100_000)]
    [1, 4, 37, 100]
    """
    return min(images, max(MIN_CLUSTERS, min(MAX_CLUSTERS, round(math.sqrt(images / 2)))))


def cluster(read: Callable[[Ints], Vectors], images: int, count: int, *, distance: str) -> Clusters:
    """Return N images in at most `count` clusters; in fewer where fewer are different.

    The same vectors give the same clusters, bit for bit: by a fixed seed, in one thread. Of N
    vectors, only as many are in memory as the sample and a block have.

    read: returns float32 [n, d], the prepared vectors of int64 [n] rows. images: N, 1 or more.
    distance: by which they are prepared.
    """
    faiss.omp_set_num_threads(1)  # of this thread of Python
    sample = _read_sample(read, images)
    moved_by = find_centre(sample, distance=distance)
    means = faiss.Kmeans(
        sample.shape[1],
        min(count, len(sample)),
        spherical=distance == "cosine",
        seed=SEED,
        niter=ITERATIONS,
        nredo=ATTEMPTS,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,  # it warns of fewer
        max_points_per_centroid=SAMPLE,  # it samples of more
    )
    means.train(subtract(sample, moved_by))
    numbers, scores = np.empty(images, np.int64), np.empty(images, np.float32)
    for rows in _in_blocks(np.arange(images)):
        found, numbers[rows] = means.assign(subtract(read(rows), moved_by))
        scores[rows] = found if distance == "cosine" else -np.sqrt(np.maximum(found, 0))
    return _order(numbers, scores)


def _read_sample(read: Callable[[Ints], Vectors], images: int) -> Vectors:
    """Return float32 [n, d], evenly taken vectors; a block at a time, as `read` takes memory."""
    chosen = np.linspace(0, images - 1, min(SAMPLE, images)).astype(np.int64)
    sample = np.empty((0, 0), np.float32)
    filled = 0
    for rows in _in_blocks(chosen):
        vectors = read(rows)
        if not filled:  # the first says how long vectors are
            sample = np.empty((len(chosen), vectors.shape[1]), np.float32)
        sample[filled : filled + len(rows)] = vectors
        filled += len(rows)
    return sample


def _in_blocks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def _order(numbers: Ints, scores: Scores) -> Clusters:
    """Return the clusters of int64 [N] numbers of centres, and float32 [N] scores with them."""
    sizes = np.bincount(numbers)
    largest_first = np.argsort(-sizes, kind="stable")
    place = np.empty(len(sizes), np.int64)
    place[largest_first] = np.arange(len(sizes))
    rows = np.lexsort((-scores, place[numbers]))  # stable: equal ones stay in their order
    filled = sizes[largest_first][sizes[largest_first] > 0]
    return Clusters(rows, scores[rows], np.concatenate([[0], np.cumsum(filled)]))
