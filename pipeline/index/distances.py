"""Scores between embeddings, higher is closer: one meaning of each distance for every stage."""

import numpy as np
from numba import njit

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.errors import UserError, name_choices

DISTANCES = ("cosine", "euclidean")
# What float32 rounds a result of 1 by, at most.
UNIT_ROUNDOFF = 2.0**-24


def prepare_vectors(vectors: Vectors, *, distance: str) -> Vectors:
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
        self.distance = distance
        self._vectors = vectors
        self._squares = np.einsum("gd,gd->g", vectors, vectors)  # (G,)
        self._longest = np.sqrt(self._squares.max(initial=0))
        self._duplicates, self._originals = _find_duplicates(vectors)

    def scores(self, queries: Vectors) -> Scores:
        """Return float32 [Q, G]: the cosine, or minus the Euclidean distance.

        Identical gallery vectors get identical scores, bit for bit: BLAS sums the columns at the
        edge of a matrix in another order, which would break their ties.
        """
        scores: Scores = queries @ self._vectors.T
        if self.distance == "euclidean":
            # -|q - g| with |q - g|^2 = |q|^2 + |g|^2 - 2 q.g, in place: a block is large.
            scores *= -2
            scores += self._squares
            scores += np.einsum("qd,qd->q", queries, queries)[:, None]
            np.sqrt(np.maximum(scores, 0, out=scores), out=scores)
            np.negative(scores, out=scores)
        scores[:, self._duplicates] = scores[:, self._originals]
        return scores

    def lowest(self, scores: Scores, queries: Vectors) -> Scores:
        """Return float32 [Q, K]: what `pair_scores` gives at least, where this or faiss `scores`.

        The last bits of a score depend on the order of its sum, so on the processor's BLAS and on
        the size of the block; these bounds hold whatever the order was.

        scores: float32 [Q, K], of queries float32 [Q, D] with any K of the gallery.
        """
        return self._shift(scores, -self._rounding(queries))

    def highest(self, scores: Scores, queries: Vectors) -> Scores:
        """Return float32 [Q, K]: what `pair_scores` gives at most; as `lowest`."""
        return self._shift(scores, self._rounding(queries))

    def _rounding(self, queries: Vectors) -> Scores:
        """Return float32 [Q, 1]: how far two sums of one cosine, or squared distance, may differ.

        D products summed in any order miss the sum by at most D u / (1 - D u) of the sum of their
        absolute values (Higham: Accuracy and Stability of Numerical Algorithms, 2002, section
        3.1), here twice, once for each sum; some further roundings count as further terms.
        """
        terms = (queries.shape[1] + 16) * UNIT_ROUNDOFF
        lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries))[:, None]
        if self.distance == "euclidean":
            largest = (lengths + self._longest) ** 2
        else:
            largest = lengths * self._longest
        rounding: Scores = np.float32(2 * terms / (1 - terms)) * largest
        return rounding

    def _shift(self, scores: Scores, by: Scores) -> Scores:
        if self.distance == "cosine":
            return scores + by
        # Of a squared distance: near zero, the root turns its last bits into large ones.
        squares: Scores = scores * scores
        squares -= by
        np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
        np.negative(squares, out=squares)
        return squares


def pair_scores(queries: Vectors, gallery: Vectors, rows: Ints, *, distance: str) -> Scores:
    """Return float32 [Q, K]: the score of query q with each of its gallery rows `rows[q]`.

    rows: int64 [Q, K]; -1 stands for none and scores -inf.
    """
    starts = np.arange(len(rows) + 1) * rows.shape[1]
    flat = np.ascontiguousarray(rows).reshape(-1)
    return listed_scores(queries, gallery, starts, flat, distance=distance).reshape(rows.shape)


def listed_scores(
    queries: Vectors, gallery: Vectors, starts: Ints, rows: Ints, *, distance: str
) -> Scores:
    """Return float32 [P]: as `pair_scores`, where query q has rows[starts[q]:starts[q + 1]]."""
    scores = np.empty(len(rows), dtype=np.float32)
    _fill_scores(queries, gallery, starts, rows, distance == "euclidean", scores)
    return scores


def _find_duplicates(vectors: Vectors) -> tuple[Ints, Ints]:
    """Return the rows that repeat an earlier one, and the first row of the same vector."""
    plain = np.ascontiguousarray(vectors + np.float32(0))  # -0 is 0
    whole = plain.view(np.dtype((np.void, plain.strides[0]))).reshape(-1)
    _, firsts, of = np.unique(whole, return_index=True, return_inverse=True)
    originals = firsts[of].astype(np.int64)
    duplicates = np.flatnonzero(originals != np.arange(len(vectors)))
    return duplicates, originals[duplicates]


# Sums may be reordered (so that they run on wide registers), but alike for every pair.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _fill_scores(
    queries: Vectors, gallery: Vectors, starts: Ints, rows: Ints, euclidean: bool, scores: Scores
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
