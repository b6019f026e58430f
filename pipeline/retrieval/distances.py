"""Scores between embeddings, higher is closer: one meaning of each distance for every stage."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import UserError, name_choices

Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

DISTANCES = ("cosine", "euclidean")
# BLAS sums the last, incomplete strip of a matrix in another order, so that two identical pictures
# get scores that differ in the last bit, and a tie is lost. Zero rows fill that strip.
STRIP = 64


def prepare(vectors: Vectors, *, distance: str) -> Vectors:
    """Return float32 [N, D] ready for scores: of unit length where `distance` is cosine.

    A vector of zeros stays as it is; its cosine with everything is 0.

    Raises:
        UserError: the distance is unknown, or a vector holds NaN or infinity.
    """
    if distance not in DISTANCES:
        raise UserError(f"index.distance: {name_choices(distance, DISTANCES)}")
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise UserError(
            f"embeddings: {len(broken)} of {len(vectors)} hold NaN or infinity, the first is row "
            f"{broken[0]}; allowed: finite numbers; train again with a lower optimizer lr"
        )
    if distance == "euclidean":
        return np.ascontiguousarray(vectors, dtype=np.float32)
    # In float64: the squares of large float32 values overflow.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


class Gallery:
    """G prepared vectors that are compared with whole blocks of queries."""

    def __init__(self, vectors: Vectors, *, distance: str) -> None:
        self.size = len(vectors)
        self.distance = distance
        self._padded = _padded(vectors)  # (G', D)
        self._squares = np.einsum("gd,gd->g", self._padded, self._padded)  # (G',)

    def scores(self, queries: Vectors) -> Scores:
        """Return float32 [Q, G']: the cosine, or minus the Euclidean distance.

        G' >= G, a multiple of STRIP: the columns beyond the gallery are -inf and so come last.
        Identical gallery vectors get identical scores, bit for bit.
        """
        padded = _padded(queries)
        scores = padded @ self._padded.T  # (Q', G')
        if self.distance == "euclidean":
            # -|q - g| with |q - g|^2 = |q|^2 + |g|^2 - 2 q.g, in place: a block is large.
            scores *= -2
            scores += self._squares
            scores += np.einsum("qd,qd->q", padded, padded)[:, None]
            np.sqrt(np.maximum(scores, 0, out=scores), out=scores)
            np.negative(scores, out=scores)
        scores[:, self.size :] = -np.inf
        return scores[: len(queries)]


def pair_scores(queries: Vectors, gallery: Vectors, rows: Rows, *, distance: str) -> Scores:
    """Return float32 [Q, K]: the score of query q with each of its gallery rows `rows[q]`.

    rows: int64 [Q, K]; -1 stands for none and scores -inf.
    """
    starts = np.arange(len(rows) + 1) * rows.shape[1]
    flat = np.ascontiguousarray(rows).reshape(-1)
    return listed_scores(queries, gallery, starts, flat, distance=distance).reshape(rows.shape)


def listed_scores(
    queries: Vectors, gallery: Vectors, starts: Rows, rows: Rows, *, distance: str
) -> Scores:
    """Return float32 [P]: as `pair_scores`, where query q has rows[starts[q]:starts[q + 1]]."""
    scores = np.empty(len(rows), dtype=np.float32)
    _fill_scores(queries, gallery, starts, rows, distance == "euclidean", scores)
    return scores


def _padded(vectors: Vectors) -> Vectors:
    missing = -len(vectors) % STRIP
    return np.ascontiguousarray(np.pad(vectors, ((0, missing), (0, 0))))


# Sums may be reordered (so that they run on wide registers), but alike for every pair.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _fill_scores(
    queries: Vectors, gallery: Vectors, starts: Rows, rows: Rows, euclidean: bool, scores: Scores
) -> None:
    for q in range(len(starts) - 1):
        for p in range(starts[q], starts[q + 1]):
            row = rows[p]
            total = np.float32(0)
            if row < 0:
                total = np.float32(-np.inf)
            elif euclidean:
                for d in range(queries.shape[1]):
                    difference = queries[q, d] - gallery[row, d]
                    total += difference * difference
                total = -np.sqrt(total)
            else:
                for d in range(queries.shape[1]):
                    total += queries[q, d] * gallery[row, d]
            scores[p] = total
