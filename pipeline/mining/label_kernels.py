"""The compiled loops that pick the triplets of each image among what its labels allow."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.mining.label_overlap import (
    Candidates,
    DistinctSets,
    contains,
    count_left,
    find_least_shared,
    find_most_shared,
    make_candidates,
    sample_candidate,
    sample_disjoint,
    seeded,
)

RngState = NDArray[np.uint64]
# The hardest positive is the one of the lowest score, the hardest negative that of the highest.
POSITIVE, NEGATIVE = np.float32(-1), np.float32(1)


class TripletBuffers(NamedTuple):
    """The n triplets of each of N images, -1 where there is none; filled block by block.

    positives, negatives: int64 [N, n]. shared: int64 [N], the most labels that an image has in
    common with another, 0 where there is none to be its positive. overlaps: int64 [N, n], labels
    that a negative shares with anchor or positive.
    """

    positives: Ints
    negatives: Ints
    shared: Ints
    overlaps: Ints


class Hardness(NamedTuple):
    """Which of the images that are drawn is taken: the hardest of `pool`, by their scores.

    vectors: float32 [N, D], prepared; with D = 0 all are alike, and `pool` is 1.
    """

    vectors: Vectors
    euclidean: bool
    pool: int


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pick_block(
    sets: DistinctSets,
    start: int,
    scores: Scores,
    judge: Hardness,
    seed: int,
    found: TripletBuffers,
) -> None:
    """Fill the triplets of the A images members[start:start + A].

    scores: float32 [A, N], those of all images in the order of `members`, of which the hardest
    is taken; or [A, 0], and images are drawn for `judge`, each image's from a stream of its
    own.
    """
    like = make_candidates(len(sets.starts) - 1)
    unlike = make_candidates(len(sets.starts) - 1)
    state = np.zeros(1, dtype=np.uint64)
    s, most = -1, 0
    for a in range(len(scores)):
        anchor = sets.members[start + a]
        if sets.of[anchor] != s:
            s = sets.of[anchor]
            most = find_most_shared(sets, s, like)
        if most > 0:
            found.shared[anchor] = most
            seeded(seed, anchor, state)
            liked = _pick_positives(
                sets, anchor, like, scores[a], judge, state, found.positives.shape[1]
            )
            for i in range(found.positives.shape[1]):
                # Where the negatives of one positive are used up, the next one may have some left.
                for j in range(i, i + len(liked)):
                    positive = liked[j % len(liked)]
                    _pick_negative(
                        sets, anchor, positive, unlike, scores[a], judge, state, found, i
                    )
                    if found.negatives[anchor, i] >= 0:
                        break


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_positives(
    sets: DistinctSets,
    anchor: int,
    like: Candidates,
    scores: Scores,
    judge: Hardness,
    state: RngState,
    n: int,
) -> Ints:
    """Return up to n distinct positives, one at least."""
    excluded = np.full(1 + n, -1, dtype=np.int64)
    excluded[0] = anchor
    distinct = min(n, count_left(sets, like, excluded))
    for i in range(distinct):
        excluded[1 + i] = _pick(sets, anchor, like, excluded, scores, POSITIVE, judge, state)
    return excluded[1 : 1 + distinct]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_negative(
    sets: DistinctSets,
    anchor: int,
    positive: int,
    unlike: Candidates,
    scores: Scores,
    judge: Hardness,
    state: RngState,
    found: TripletBuffers,
    i: int,
) -> None:
    """Fill triplet i of the anchor, unless all that `positive` allows stands before."""
    excluded = np.empty(2 + i, dtype=np.int64)
    excluded[0], excluded[1] = anchor, positive
    excluded[2:] = found.negatives[anchor, :i]
    least, picked = 0, -1
    if len(scores) == 0:
        picked = _pick_disjoint(sets, anchor, positive, excluded, judge, state)
    if picked < 0:
        # Few are disjoint, if any, or all of them are to be compared: look at every set.
        least = find_least_shared(sets, sets.of[anchor], sets.of[positive], excluded[:2], unlike)
        if least >= 0 and count_left(sets, unlike, excluded) == 0:
            # Negatives that stand beside another positive may come again.
            for j in range(i):
                if found.positives[anchor, j] != positive:
                    excluded[2 + j] = -1
        if least >= 0 and count_left(sets, unlike, excluded) > 0:
            picked = _pick(sets, anchor, unlike, excluded, scores, NEGATIVE, judge, state)
    if picked >= 0:
        found.positives[anchor, i], found.negatives[anchor, i] = positive, picked
        found.overlaps[anchor, i] = least


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick(
    sets: DistinctSets,
    anchor: int,
    among: Candidates,
    excluded: Ints,
    scores: Scores,
    side: np.float32,
    judge: Hardness,
    state: RngState,
) -> int:
    """Return the hardest candidate that is not barred, of all or of those drawn; there is one."""
    best, hardest = -1, np.float32(0)
    if len(scores) == 0:
        for _ in range(judge.pool):
            image = sample_candidate(sets, among, excluded, state)
            hardness = side * _score(judge, anchor, image)
            if best < 0 or hardness > hardest:
                best, hardest = image, hardness
        return best
    for k in range(among.size[0]):
        t = among.sets[k]
        for m in range(sets.starts[t], sets.starts[t + 1]):
            image, hardness = sets.members[m], side * scores[m]
            # The sets are not in the order of their images, by which ties go.
            harder = hardness > hardest or (hardness == hardest and image < best)
            if (best < 0 or harder) and not contains(excluded, image):
                best, hardest = image, hardness
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_disjoint(
    sets: DistinctSets, anchor: int, positive: int, excluded: Ints, judge: Hardness, state: RngState
) -> int:
    """Return the hardest of those drawn without a label of anchor or positive; -1 if one failed."""
    best, hardest = -1, np.float32(0)
    for _ in range(judge.pool):
        image = sample_disjoint(sets, sets.of[anchor], sets.of[positive], excluded, state)
        if image < 0:
            return -1
        hardness = _score(judge, anchor, image)
        if best < 0 or hardness > hardest:
            best, hardest = image, hardness
    return best


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _score(judge: Hardness, a: int, b: int) -> np.float32:
    total = np.float32(0)
    for d in range(judge.vectors.shape[1]):
        if judge.euclidean:
            difference = judge.vectors[a, d] - judge.vectors[b, d]
            total -= difference * difference
        else:
            total += judge.vectors[a, d] * judge.vectors[b, d]
    return total
