"""The principal axes of vectors: the directions along which they are longest, or vary most."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Vectors

# Of more vectors the axes are those of a sample; and of longer ones they are found by the matrix of
# the vectors, in place of that of their numbers: the cost grows with the cube of its side.
MOST_VECTORS, MOST = 65_536, 2048
# Along an axis whose deviation is a smaller part of the largest, vectors hardly vary: what it is,
# is rounding, another on another computer.
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Axes:
    """The principal axes of vectors of D numbers, by falling deviation.

    mean: float64 [D], zeros where they are not centered. deviations: float64 [A], along each axis.
    axes: float64 [A, D].
    """

    mean: Floats
    deviations: Floats
    axes: Floats

    @property
    def count(self) -> int:
        """Along how many of them, the first, the vectors vary, beyond rounding."""
        largest = self.deviations.max(initial=0)
        return int((self.deviations > LEAST_DEVIATION * largest).sum())


def fit_axes(vectors: Vectors, *, center: bool, seed: int) -> Axes:
    """Return the axes of float32 [N, D], at most N of them; seed: of the sample of many vectors."""
    features = vectors.shape[1]
    most = MOST_VECTORS if features <= MOST else MOST
    if len(vectors) > most:
        rows = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
        vectors = vectors[np.sort(rows)]
    data = vectors.astype(np.float64)
    mean = data.mean(axis=0) if center else np.zeros(features)
    data -= mean
    squares, axes = _of_features(data) if features <= MOST else _of_vectors(data)
    return Axes(mean, np.sqrt(np.maximum(squares, 0) / len(data)), axes)


def _of_features(data: Floats) -> tuple[Floats, Floats]:
    """Return the values [D] and vectors [D, D] of the D x D matrix of inner products, falling."""
    values, axes = np.linalg.eigh(data.T @ data)
    return values[::-1], axes.T[::-1]


def _of_vectors(data: Floats) -> tuple[Floats, Floats]:
    """Return the same, up to N of them, from the N x N matrix: cheaper for long vectors."""
    values, left = np.linalg.eigh(data @ data.T)
    kept = values > values[-1] * 1e-10
    axes: Floats = (left[:, kept] / np.sqrt(values[kept])).T @ data
    return values[kept][::-1], axes[::-1]
