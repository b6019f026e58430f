"""What is done to embeddings before they are searched: a linear map, and means of neighbors.

The map subtracts the mean, keeps the first principal axes and divides each by a power of its
deviation, which is whitening (Jegou and Chum: Negative Evidences and Co-occurrences in Image
Retrieval: the Benefit of PCA and Whitening, 2012). With query expansion a query becomes the mean of
itself and its first results, weighted by a power of their cosine (Radenovic, Tolias and Chum:
Fine-tuning CNN Image Retrieval with No Human Annotation, 2018); with database augmentation so does
each image of the gallery (Arandjelovic and Zisserman: Three Things Everyone Should Know to Improve
Object Retrieval, 2012). Both depend on the other images of the gallery, not on the two alone that
are compared.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.data.arrays import Floats, Ints, Scores, Vectors
from pipeline.index.distances import check_vectors, prepare_checked, prepare_vectors
from pipeline.index.postprocessing_options import Steps

FILE, KEY = "postprocessing.safetensors", "postprocessing"
# Of more training images the axes are those of a sample.
MOST_FITTED = 65_536
# Along an axis whose deviation is a smaller part of the largest, images hardly vary: what it is, is
# rounding, another on another computer; and whitening would make it as important as the others.
LEAST_DEVIATION = 1e-3
# The power of a neighbor's cosine by which it counts; 3 in the paper.
POWER = 3
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Axes:
    """The principal axes of embeddings, by falling deviation.

    mean: float64 [D], zeros where they are not centered. deviations: float64 [A], along each axis.
    axes: float64 [D, A].
    """

    mean: Floats
    deviations: Floats
    axes: Floats

    @property
    def count(self) -> int:
        """Along how many of them, the first, the images vary, beyond rounding."""
        return max(1, int((self.deviations > LEAST_DEVIATION * self.deviations[0]).sum()))


@dataclass(frozen=True)
class LinearMap:
    """(x - mean) @ weight. mean: float32 [D]. weight: float32 [D, d]; None: x - mean."""

    mean: Vectors
    weight: Vectors | None = None

    @property
    def dim(self) -> int:
        """Numbers of a mapped vector."""
        return len(self.mean) if self.weight is None else int(self.weight.shape[1])

    def apply(self, distance: str, vectors: Vectors) -> Vectors:
        """Return float32 [N, d] of float32 [N, D]."""
        prepared = prepare_checked(vectors, distance=distance)
        if self.weight is None:
            centered: Vectors = prepared - self.mean
            return centered
        mapped = np.empty((len(vectors), self.dim), np.float32)
        _fill_mapped(prepared, self.mean, self.weight, mapped)
        return mapped


@dataclass(frozen=True)
class Postprocessing:
    """What an index has done to the vectors in it, and does to its queries.

    distance: by which the mapped vectors are compared. map: None for no map. The others as of
    `Steps`.
    """

    description: str = "nothing"
    distance: str = "cosine"
    prefix: int | None = None
    map: LinearMap | None = None
    database_augmentation: int = 0
    query_expansion: int = 0

    @property
    def is_transductive(self) -> bool:
        """Whether other images of the gallery have a part in a score."""
        return self.database_augmentation > 0 or self.query_expansion > 0

    @property
    def dim(self) -> int | None:
        """Numbers of a mapped vector; None where vectors stay as long as they are."""
        return self.prefix if self.map is None else self.map.dim

    def apply(self, vectors: Vectors) -> Vectors:
        """Return float32 [N, d], the mapped float32 [N, D]; of unit length first, for the cosine.

        Each row is the same bits whichever others are with it, so that equal images stay equal.

        Raises:
            UserError: as `check_vectors`.
        """
        vectors = vectors if self.prefix is None else vectors[:, : self.prefix].copy()
        if self.map is None or not len(vectors):
            return vectors
        check_vectors(vectors, distance=self.distance)
        starts = range(0, len(vectors), ROWS_AT_ONCE)
        parts = (vectors[start : start + ROWS_AT_ONCE] for start in starts)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return np.concatenate(list(threads.map(partial(self.map.apply, self.distance), parts)))


NOTHING = Postprocessing()


def fit_axes(vectors: Vectors, *, center: bool, seed: int) -> Axes:
    """Return the axes of float32 [N, D], which are prepared; of a sample from `seed` of many."""
    if len(vectors) > MOST_FITTED:
        rows = np.random.default_rng(seed).choice(len(vectors), MOST_FITTED, replace=False)
        vectors = vectors[np.sort(rows)]
    data = vectors.astype(np.float64)
    mean = data.mean(axis=0) if center else np.zeros(data.shape[1])
    data -= mean
    squares, axes = np.linalg.eigh(data.T @ data / len(data))
    deviations = np.sqrt(np.maximum(squares[::-1], 0))
    return Axes(mean, deviations, axes[:, ::-1])


def make_postprocessing(axes: Axes | None, steps: Steps, *, distance: str) -> Postprocessing:
    """Return the post-processing of `steps`.

    axes: of the first numbers if `steps.prefix`, and centered if `steps.center`; None is enough
    without a map. Fewer than `steps.pca` are kept where the images vary along fewer.
    """
    map_ = None if axes is None or not steps.maps else _make_map(axes, steps)
    if map_ is not None and steps.pca is not None:
        steps = steps.model_copy(update={"pca": map_.dim})
    return Postprocessing(
        steps.describe(),
        distance=distance,
        prefix=steps.prefix,
        map=map_,
        database_augmentation=steps.database_augmentation,
        query_expansion=steps.query_expansion,
    )


def _make_map(axes: Axes, steps: Steps) -> LinearMap:
    mean = axes.mean.astype(np.float32)
    if steps.pca is None and not steps.whiten:  # all axes would only turn what is centered
        return LinearMap(mean)
    kept = slice(min(axes.count, steps.pca or axes.count))
    deviations = axes.deviations[kept]
    divisors = np.where(deviations > 0, deviations, 1) ** steps.whiten
    return LinearMap(mean, np.ascontiguousarray(axes.axes[:, kept] / divisors, np.float32))


def average_with_neighbors(
    queries: Vectors, gallery: Vectors, rows: Ints, scores: Scores, *, distance: str
) -> Vectors:
    """Return float32 [Q, d], prepared: the weighted mean of each query and its n neighbors.

    An image counts by its cosine to the power of POWER, and not at all where that is negative; for
    the Euclidean distance, all count alike.

    queries: float32 [Q, d], gallery: float32 [G, d], both prepared. rows: int64 [Q, n], those of
    the gallery that are nearest, and their scores, float32 [Q, n]; -1 and -inf for none.
    """
    exists = rows >= 0
    similar = np.where(exists, scores, 0).clip(min=0).astype(np.float64)
    weights = similar**POWER if distance == "cosine" else exists.astype(np.float64)
    total = queries.astype(np.float64)
    for place in range(rows.shape[1]):  # in order, so that a sum is the same bits everywhere
        total += weights[:, place, None] * gallery[rows[:, place]]
    total /= 1 + weights.sum(axis=1, keepdims=True)
    return prepare_vectors(total.astype(np.float32), distance=distance)


def write_postprocessing(path: Path, done: Postprocessing) -> None:
    """Write the map and what else was done."""
    of_map = {} if done.map is None else vars(done.map)
    tensors = {name: tensor for name, tensor in of_map.items() if tensor is not None}
    about = {key: value for key, value in vars(done).items() if key != "map"}
    save_file(tensors, path, metadata={KEY: json.dumps(about)})


def read_postprocessing(path: Path) -> Postprocessing:
    """Return what `write_postprocessing` wrote."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Postprocessing(map=LinearMap(**tensors) if tensors else None, **about)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_mapped(vectors: Vectors, mean: Vectors, weight: Vectors, mapped: Vectors) -> None:
    """Fill float32 [N, d]; each sum in the order of the dimensions, in float64."""
    total = np.empty(weight.shape[1], np.float64)
    for row in range(len(vectors)):
        total[:] = 0
        for i in range(len(mean)):
            x = np.float64(vectors[row, i]) - np.float64(mean[i])
            for j in range(len(total)):
                total[j] += x * np.float64(weight[i, j])
        for j in range(len(total)):
            mapped[row, j] = total[j]
