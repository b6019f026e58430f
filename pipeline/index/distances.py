"""Scores between embeddings, higher is closer: the same definition of a distance in all stages."""

import math
from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Floats, Ints, Scores, Vectors
from pipeline.errors import UserError, name_choices

DISTANCES = ("cosine", "euclidean")
# By how much two sums of one score may differ: of a score up to 1 absolutely, else relatively.
SCORE_TOLERANCE = 1e-6
# By how much the length of a float32 vector may differ from 1 after it was divided by its length.
UNIT_LENGTH_TOLERANCE = 1e-5
# The largest relative error of one float32 operation.
UNIT_ROUNDOFF = 2.0**-24
ROWS_AT_ONCE = 4096


def to_unit_length(vectors: Vectors | Floats) -> Vectors:
    """Return float32 [N, D]: each row divided by its L2 norm; a row of zeros stays zero.

    The division is computed in the precision of `vectors`.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def have_unit_length(vectors: Vectors) -> bool:
    """Return whether all rows of float32 [N, D] have length 1, up to rounding."""
    return all(
        np.all(np.abs(np.linalg.norm(rows, axis=1) - 1) < UNIT_LENGTH_TOLERANCE)
        for rows in _in_blocks(vectors)
    )


def _in_blocks(vectors: Vectors) -> Iterator[Vectors]:
    """Yield ROWS_AT_ONCE rows at a time: what is computed of all of them is as large as they."""
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield vectors[start : start + ROWS_AT_ONCE]


def prepare_vectors(vectors: Vectors, *, distance: str) -> Vectors:
    """Return float32 [N, D], ready to be scored: for the cosine, of unit length.

    A vector of zeros stays as it is; its cosine with every vector is 0.

    Raises:
        UserError: as `check_vectors`.
    """
    check_vectors(vectors, distance=distance)
    return prepare_checked(vectors, distance=distance)


def check_vectors(vectors: Vectors, *, distance: str) -> None:
    """Raise a UserError if the distance is unknown, or a vector holds NaN or infinity."""
    if distance not in DISTANCES:
        raise UserError(f"index.distance: {name_choices(distance, DISTANCES)}")
    finite = [np.isfinite(rows).all(axis=1) for rows in _in_blocks(vectors)]
    broken = np.flatnonzero(~np.concatenate([np.empty(0, bool), *finite]))
    if len(broken):
        raise UserError(
            f"embeddings: {len(broken)} of {len(vectors)} hold NaN or infinity, the first is row "
            f"{broken[0]}; allowed: finite numbers; train again with a lower optimizer lr"
        )


def prepare_checked(vectors: Vectors, *, distance: str) -> Vectors:
    """Return `prepare_vectors` of what `check_vectors` accepts: any part of it, alike."""
    if distance == "euclidean":
        return np.ascontiguousarray(vectors, dtype=np.float32)
    prepared = np.empty(vectors.shape, np.float32)
    for rows, to in zip(_in_blocks(vectors), _in_blocks(prepared), strict=True):
        # In float64, because the squares of large float32 values overflow.
        to[:] = to_unit_length(rows.astype(np.float64))
    return prepared


def find_centre(gallery: Vectors, *, distance: str) -> Vectors | None:
    """Return float32 [D], what to `subtract` from the gallery and its queries; None for nothing.

    |q - g|^2 is computed as |q|^2 + |g|^2 - 2 q.g, by one matrix product. In float32 that has no
    digit left where vectors are 10,000 long and 1 apart.

    The centre is the gallery's mean, each coordinate rounded to a multiple of a power of two that
    is four to eight times the spread (the root mean square deviation of all coordinates). So a
    vector minus the centre is exact nearly always, and ties stay ties; and vectors that are no
    farther from the origin than that, which lose less than two digits, stay as they are. So do
    those of unit length, and all for the cosine.

    gallery: float32 [G, D], prepared.
    """
    if distance != "euclidean" or not len(gallery) or have_unit_length(gallery):
        return None
    mean = gallery.mean(axis=0, dtype=np.float64)
    spread = _find_spread(gallery, mean)
    if spread > 0:
        step = math.ldexp(4.0, math.frexp(spread)[1])
        mean = np.round(mean / step) * step
    centre: Vectors = mean.astype(np.float32)
    return centre if centre.any() else None


def subtract(vectors: Vectors, centre: Vectors | None) -> Vectors:
    """Return float32 [N, D]: `vectors` minus the centre, of `find_centre`."""
    return vectors if centre is None else vectors - centre


class GalleryScorer:
    """Scores blocks of queries with all G prepared vectors of a gallery.

    vectors: float32 [G, D], the gallery minus `centre`, which is None or float32 [D].
    """

    def __init__(self, vectors: Vectors, *, distance: str) -> None:
        self.distance = distance
        self.centre = find_centre(vectors, distance=distance)
        self.vectors = subtract(vectors, self.centre)
        self._squares = np.einsum("gd,gd->g", self.vectors, self.vectors)  # (G,)
        self._longest = np.sqrt(self._squares.max(initial=0))
        self._duplicates, self._originals = _find_duplicates(self.vectors)

    def score(self, queries: Vectors) -> Scores:
        """Return float32 [Q, G]: the cosine, or minus the Euclidean distance.

        Identical gallery vectors get identical scores, bit for bit: BLAS sums the columns at the
        edge of a matrix in another order, which would break their ties.
        """
        queries = subtract(queries, self.centre)
        scores: Scores = queries @ self.vectors.T
        if self.distance == "euclidean":
            # -|q - g| with |q - g|^2 = |q|^2 + |g|^2 - 2 q.g, in place: a block is large.
            scores *= -2
            scores += self._squares
            scores += np.einsum("qd,qd->q", queries, queries)[:, None]
            np.sqrt(np.maximum(scores, 0, out=scores), out=scores)
            np.negative(scores, out=scores)
        scores[:, self._duplicates] = scores[:, self._originals]
        return scores

    def lower_bounds(self, scores: Scores, queries: Vectors) -> Scores:
        """Return float32 [Q, K]: the least that `score_pairs` gives for pairs with these `scores`.

        The last bits of a score depend on the order of its sum, so on the processor's BLAS, on
        faiss and on the size of the block; these bounds hold for any order.

        scores: float32 [Q, K], of queries float32 [Q, D] with any K gallery vectors, by `score`, or
        by faiss from both minus the `centre`.
        """
        return self._shift(scores, -self._rounding_errors(queries))

    def upper_bounds(self, scores: Scores, queries: Vectors) -> Scores:
        """Return float32 [Q, K]: the most that `score_pairs` gives; see `lower_bounds`."""
        return self._shift(scores, self._rounding_errors(queries))

    def _rounding_errors(self, queries: Vectors) -> Scores:
        """Return float32 [Q, 1]: how far two sums of one cosine, or squared distance, may differ.

        D products summed in any order differ from the true sum by at most D u / (1 - D u) of the
        sum of their absolute values (Higham: Accuracy and Stability of Numerical Algorithms, 2002,
        section 3.1), here twice, once for each sum; other roundings count as 16 more terms.
        """
        terms = (queries.shape[1] + 16) * UNIT_ROUNDOFF
        queries = subtract(queries, self.centre)  # its rounding is one of the 16 terms
        lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries))[:, None]
        if self.distance == "euclidean":
            largest = (lengths + self._longest) ** 2
        else:
            largest = lengths * self._longest
        errors: Scores = np.float32(2 * terms / (1 - terms)) * largest
        return errors

    def _shift(self, scores: Scores, by: Scores) -> Scores:
        if self.distance == "cosine":
            return scores + by
        # The errors are those of a squared distance; near 0, its root has much larger ones.
        squares: Scores = scores * scores
        squares -= by
        np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
        np.negative(squares, out=squares)
        return squares


def score_pairs(queries: Vectors, gallery: Vectors, rows: Ints, *, distance: str) -> Scores:
    """Return float32 [Q, K]: the score of query q with each of its gallery rows `rows[q]`.

    rows: int64 [Q, K]; -1 is no row and scores -inf.
    """
    starts = np.arange(len(rows) + 1) * rows.shape[1]
    flat = np.ascontiguousarray(rows).reshape(-1)
    return score_pair_lists(queries, gallery, starts, flat, distance=distance).reshape(rows.shape)


def score_pair_lists(
    queries: Vectors, gallery: Vectors, starts: Ints, rows: Ints, *, distance: str
) -> Scores:
    """Return float32 [P]: as `score_pairs`, but query q has rows[starts[q]:starts[q + 1]]."""
    scores = np.empty(len(rows), dtype=np.float32)
    _fill_scores(queries, gallery, starts, rows, distance == "euclidean", scores)
    return scores


def _find_spread(vectors: Vectors, mean: Floats) -> float:
    total = sum(float(np.square(rows - mean).sum()) for rows in _in_blocks(vectors))
    return math.sqrt(total / vectors.size)


def _find_duplicates(vectors: Vectors) -> tuple[Ints, Ints]:
    """Return the rows that repeat an earlier one, and the first row of the same vector."""
    _, inverse, counts = np.unique(_hash(vectors), return_inverse=True, return_counts=True)
    same_hash = np.flatnonzero(counts[inverse] > 1)
    rows = _without_signed_zero(vectors[same_hash])
    row_bytes = rows.view(np.dtype((np.void, rows.strides[0]))).reshape(-1)
    _, first, inverse = np.unique(row_bytes, return_index=True, return_inverse=True)
    originals = same_hash[first[inverse]]
    repeats = originals != same_hash
    return same_hash[repeats], originals[repeats]


def _hash(vectors: Vectors) -> NDArray[np.uint64]:
    """Return uint64 [N], the same for equal rows; a sum of products with odd numbers, modulo 2^64,
    which differs for nearly all others."""
    odd = np.random.default_rng(0).integers(2**63, size=vectors.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(vectors), np.uint64)
    for start, rows in enumerate(_in_blocks(vectors)):
        bits = _without_signed_zero(rows).view(np.uint32)
        hashes[start * ROWS_AT_ONCE :][: len(rows)] = bits.astype(np.uint64) @ odd
    return hashes


def _without_signed_zero(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors + np.float32(0))  # -0 becomes 0


# Sums may be reordered, so that they use wide registers, but in the same way for every pair.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def compare_pair(ones: Vectors, a: int, others: Vectors, b: int, euclidean: bool) -> np.float32:
    """Return what orders pairs as their scores do, of row a of `ones` and row b of `others`: the
    cosine, or minus the squared Euclidean distance."""
    total = np.float32(0)
    for d in range(ones.shape[1]):
        if euclidean:
            difference = ones[a, d] - others[b, d]
            total -= difference * difference
        else:
            total += ones[a, d] * others[b, d]
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_scores(
    queries: Vectors, gallery: Vectors, starts: Ints, rows: Ints, euclidean: bool, scores: Scores
) -> None:
    for q in range(len(starts) - 1):
        for p in range(starts[q], starts[q + 1]):
            if rows[p] < 0:
                scores[p] = -np.inf
                continue
            compared = compare_pair(queries, q, gallery, rows[p], euclidean)
            scores[p] = -np.sqrt(abs(compared)) if euclidean else compared
