"""Principal axes of embeddings, as the first weights of a linear head."""

import numpy as np

from pipeline.data.arrays import Floats, Vectors
from pipeline.data.principal_axes import fit_axes


def principal_axes(vectors: Vectors, dim: int, *, seed: int) -> Vectors:
    """Return float32 [dim, F]: the orthonormal axes that hold most of the vectors' length.

    The vectors are not centred, so that among all projections to `dim` dimensions this one keeps
    their inner products best (Eckart and Young 1936). Where the vectors span fewer dimensions, the
    other axes are random ones; rows beyond F are zero, as nothing is left to keep.

    vectors: float32 [N, F]. seed: of the sample and of random axes.
    """
    features = vectors.shape[1]
    axes = fit_axes(vectors, center=False, seed=seed).axes[:dim]
    wanted = min(dim, features)
    if len(axes) < wanted:
        axes = _complete(axes, wanted, np.random.default_rng(seed))
    filled = np.zeros((dim, features), np.float32)
    filled[: len(axes)] = axes
    return filled


def _complete(axes: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` orthonormal rows, the first ones `axes`."""
    more = rng.standard_normal((count - len(axes), axes.shape[1]))
    rows = np.linalg.qr(np.concatenate([axes, more]).T)[0].T
    rows[: len(axes)] = axes
    return np.asarray(rows)
