"""What is done to embeddings before they are searched: a linear map, and means of neighbors.

The map subtracts the mean, keeps the first principal axes and divides each by a power of its
deviation, which is whitening (Jegou and Chum: Negative Evidences and Co-occurrences in Image
Retrieval: the Benefit of PCA and Whitening, 2012). With query expansion a query becomes the mean of
itself and its first results, weighted by a power of their cosine (Radenovic, Tolias and Chum:
Fine-tuning CNN Image Retrieval with No Human Annotation, 2018); with database augmentation so does
each image of the gallery (Arandjelovic and Zisserman: Three Things Everyone Should Know to Improve
Object Retrieval, 2012). Then the first results may get another order (reranking.py). All
three depend on the other images of the gallery, not on the two alone that are compared.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.data.principal_axes import Axes
from pipeline.errors import UserError
from pipeline.index.distances import check_vectors, prepare_checked, prepare_vectors
from pipeline.index.postprocessing_options import NO_STEPS, Steps

FILE, KEY = "postprocessing.safetensors", "postprocessing"
# The power of a neighbor's cosine by which it counts; 3 in the paper.
POWER = 3
ROWS_AT_ONCE = 4096


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

    distance: by which the mapped vectors are compared. map: None for no map.
    """

    steps: Steps
    distance: str = "cosine"
    map: LinearMap | None = None

    def with_steps(self, **counts: int) -> "Postprocessing":
        """Return this with other numbers of neighbors."""
        return replace(self, steps=self.steps.model_copy(update=counts))

    @property
    def is_transductive(self) -> bool:
        """Whether other images of the gallery have a part in a score."""
        steps = self.steps
        return steps.database_augmentation > 0 or steps.query_expansion > 0 or steps.rerank > 0

    @property
    def reads_vectors(self) -> bool:
        """Whether a search needs the vectors of what it finds."""
        return self.steps.query_expansion > 0 or self.steps.rerank > 0

    @property
    def is_nothing(self) -> bool:
        """Whether vectors and queries stay as they are."""
        return self.steps == NO_STEPS

    @property
    def dim(self) -> int | None:
        """Numbers of a mapped vector; None where vectors stay as long as they are."""
        return self.steps.prefix if self.map is None else self.map.dim

    def apply(self, vectors: Vectors) -> Vectors:
        """Return float32 [N, d], the mapped float32 [N, D]; of unit length first, for the cosine.

        Each row is the same bits whichever others are with it, so that equal images stay equal.

        Raises:
            UserError: as `check_vectors`.
        """
        if (prefix := self.steps.prefix) is not None:
            vectors = vectors[:, :prefix].copy()
        if self.map is None or not len(vectors):
            return vectors
        check_vectors(vectors, distance=self.distance)
        starts = range(0, len(vectors), ROWS_AT_ONCE)
        parts = (vectors[start : start + ROWS_AT_ONCE] for start in starts)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return np.concatenate(list(threads.map(partial(self.map.apply, self.distance), parts)))


NOTHING = Postprocessing(NO_STEPS)


def make_postprocessing(axes: Axes | None, steps: Steps, *, distance: str) -> Postprocessing:
    """Return the post-processing of `steps`.

    axes: of the first numbers if `steps.prefix`, and centered if `steps.center`; None is enough
    without a map. Fewer than `steps.pca` are kept where the images vary along fewer.
    """
    if axes is None or not steps.maps:
        return Postprocessing(steps, distance)
    linear = _make_map(axes, steps)
    if steps.pca is not None:
        steps = steps.model_copy(update={"pca": linear.dim})
    return Postprocessing(steps, distance, linear)


def _make_map(axes: Axes, steps: Steps) -> LinearMap:
    mean = axes.mean.astype(np.float32)
    if steps.pca is None and not steps.whiten:  # all axes would only turn what is centered
        return LinearMap(mean)
    kept = slice(min(axes.count, steps.pca or axes.count))
    weight = axes.axes[kept].T / axes.deviations[kept] ** steps.whiten
    return LinearMap(mean, np.ascontiguousarray(weight, np.float32))


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


def write_postprocessing(path: Path, postprocessing: Postprocessing) -> None:
    """Write the map, the steps and the distance to the file `path`."""
    of_map = {} if postprocessing.map is None else vars(postprocessing.map)
    tensors = {name: tensor for name, tensor in of_map.items() if tensor is not None}
    about = {"steps": postprocessing.steps.model_dump(), "distance": postprocessing.distance}
    save_file(tensors, path, metadata={KEY: json.dumps(about)})


def read_postprocessing(path: Path) -> Postprocessing:
    """Return what `write_postprocessing` wrote.

    Raises:
        UserError: an earlier release wrote it, which knew other steps.
    """
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    linear = LinearMap(**tensors) if tensors else None
    try:
        steps = Steps(**about["steps"])
    except ValidationError:
        raise UserError(
            f"{path}: its steps are those of another release; run: dvc repro index"
        ) from None
    return Postprocessing(steps, about["distance"], linear)


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
