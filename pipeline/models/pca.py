"""Principal axes of embeddings, as the first weights of a linear head."""

import numpy as np

from pipeline.data.arrays import Floats, Vectors

# Beyond this, the axes are those of a sample: their cost grows with the cube of it.
MOST = 2048


def principal_axes(vectors: Vectors, dim: int, *, seed: int) -> Vectors:
    """Return float32 [dim, F]: the orthonormal axes that hold most of the vectors' length.

    The vectors are not centred, so that among all projections to `dim` dimensions this one keeps
    their inner products best (Eckart and Young 1936). Where the vectors span fewer dimensions, the
    other axes are random ones; rows beyond F are zero, as nothing is left to keep.

    vectors: float32 [N, F]. seed: of the sample and of random axes.
    """
    rng = np.random.default_rng(seed)
    features = vectors.shape[1]
    if features > MOST and len(vectors) > MOST:
        vectors = vectors[np.sort(rng.choice(len(vectors), MOST, replace=False))]
    data = vectors.astype(np.float64)
    axes = _of_features(data) if features <= MOST else _of_images(data)
    axes = axes[:dim]
    wanted = min(dim, features)
    if len(axes) < wanted:
        axes = _complete(axes, wanted, rng)
    filled = np.zeros((dim, features), np.float32)
    filled[: len(axes)] = axes
    return filled


def _of_features(data: Floats) -> Floats:
    """Return [F, F], the eigenvectors of the F x F matrix of inner products, largest first."""
    axes: Floats = np.linalg.eigh(data.T @ data)[1].T[::-1]
    return axes


def _of_images(data: Floats) -> Floats:
    """Return the same axes, up to N of them, from the N x N matrix: cheaper for long vectors."""
    values, left = np.linalg.eigh(data @ data.T)
    kept = values > values[-1] * 1e-10
    axes: Floats = ((left[:, kept] / np.sqrt(values[kept])).T @ data)[::-1]
    return axes


def _complete(axes: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` orthonormal rows, the first ones `axes`."""
    more = rng.standard_normal((count - len(axes), axes.shape[1]))
    rows = np.linalg.qr(np.concatenate([axes, more]).T)[0].T
    rows[: len(axes)] = axes
    return np.asarray(rows)
