"""The compiled loops that pick the triplets of each picture among what its labels allow."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.retrieval.distances import Scores, Vectors
from pipeline.retrieval.overlap import (
    Candidates,
    DistinctSets,
    contains,
    count_left,
    draw,
    draw_disjoint,
    find_least_shared,
    find_most_shared,
    make_candidates,
    seeded,
)
from pipeline.retrieval.relevance import Ints

State = NDArray[np.uint64]
# The hardest positive is the one of the lowest score, the hardest negative that of the highest.
POSITIVE, NEGATIVE = np.float32(-1), np.float32(1)


class Triplets(NamedTuple):
    """The n triplets of each of N pictures, -1 where there is none; filled block by block.

    positives, negatives: int64 [N, n]. shared: int64 [N], labels that a picture has in common with
    its positives. overlaps: int64 [N, n], labels that a negative shares with anchor or positive.
    """

    positives: Ints
    negatives: Ints
    shared: Ints
    overlaps: Ints


class Judge(NamedTuple):
    """Which of the pictures that are drawn is taken: the hardest of `pool`, by their scores.

    vectors: float32 [N, D], prepared; with D = 0 all are alike, and `pool` is 1.
    """

    vectors: Vectors
    euclidean: bool
    pool: int


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pick_block(
    sets: DistinctSets, start: int, scores: Scores, judge: Judge, seed: int, found: Triplets
) -> None:
    """Fill the triplets of the A pictures members[start:start + A].

    scores: float32 [A, N], those of all pictures in the order of `members`, of which the hardest
    is taken; or [A, 0], and pictures are drawn for `judge`, each picture's from a stream of its
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
            _pick_positives(sets, anchor, like, scores[a], judge, state, found)
            _pick_negatives(sets, anchor, unlike, scores[a], judge, state, found)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_positives(
    sets: DistinctSets,
    anchor: int,
    like: Candidates,
    scores: Scores,
    judge: Judge,
    state: State,
    found: Triplets,
) -> None:
    positives = found.positives[anchor]
    barred = np.full(1 + len(positives), -1, dtype=np.int64)
    barred[0] = anchor
    distinct = min(len(positives), count_left(sets, like, barred))
    for i in range(len(positives)):
        if i < distinct:
            barred[1 + i] = _pick(sets, anchor, like, barred, scores, POSITIVE, judge, state)
        positives[i] = barred[1 + i % distinct]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_negatives(
    sets: DistinctSets,
    anchor: int,
    unlike: Candidates,
    scores: Scores,
    judge: Judge,
    state: State,
    found: Triplets,
) -> None:
    positives, negatives = found.positives[anchor], found.negatives[anchor]
    barred = np.full(2 + len(negatives), -1, dtype=np.int64)
    for i in range(len(negatives)):
        barred[0], barred[1] = anchor, positives[i]
        picked = -1
        if len(scores) == 0:
            picked = _pick_disjoint(sets, anchor, positives[i], barred, judge, state)
        if picked < 0:
            # Few are disjoint, if any, or all of them are to be compared: look at every set.
            s, t = sets.of[anchor], sets.of[positives[i]]
            least = find_least_shared(sets, s, t, barred[:2], unlike)
            found.overlaps[anchor, i] = least
            if least >= 0:
                without = _bar_fewer(sets, unlike, barred, positives, i)
                picked = _pick(sets, anchor, unlike, without, scores, NEGATIVE, judge, state)
        negatives[i] = barred[2 + i] = picked


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bar_fewer(
    sets: DistinctSets, unlike: Candidates, barred: Ints, positives: Ints, i: int
) -> Ints:
    """Return whom of `barred` (anchor, positive, negatives so far) to bar, so that one is left.

    All of them; else no negative that stands beside another positive; else no negative.
    """
    if count_left(sets, unlike, barred) > 0:
        return barred
    beside = barred.copy()
    for j in range(i):
        if positives[j] != positives[i]:
            beside[2 + j] = -1
    return beside if count_left(sets, unlike, beside) > 0 else barred[:2]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick(
    sets: DistinctSets,
    anchor: int,
    among: Candidates,
    barred: Ints,
    scores: Scores,
    side: np.float32,
    judge: Judge,
    state: State,
) -> int:
    """Return the hardest candidate that is not barred, of all or of those drawn; there is one."""
    best, hardest = -1, np.float32(0)
    if len(scores) == 0:
        for _ in range(judge.pool):
            picture = draw(sets, among, barred, state)
            hardness = side * _score(judge, anchor, picture)
            if best < 0 or hardness > hardest:
                best, hardest = picture, hardness
        return best
    for k in range(among.size[0]):
        t = among.sets[k]
        for m in range(sets.starts[t], sets.starts[t + 1]):
            picture, hardness = sets.members[m], side * scores[m]
            # The sets are not in the order of their pictures, by which ties go.
            harder = hardness > hardest or (hardness == hardest and picture < best)
            if (best < 0 or harder) and not contains(barred, picture):
                best, hardest = picture, hardness
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_disjoint(
    sets: DistinctSets, anchor: int, positive: int, barred: Ints, judge: Judge, state: State
) -> int:
    """Return the hardest of those drawn without a label of anchor or positive; -1 if one failed."""
    best, hardest = -1, np.float32(0)
    for _ in range(judge.pool):
        picture = draw_disjoint(sets, sets.of[anchor], sets.of[positive], barred, state)
        if picture < 0:
            return -1
        hardness = _score(judge, anchor, picture)
        if best < 0 or hardness > hardest:
            best, hardest = picture, hardness
    return best


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _score(judge: Judge, a: int, b: int) -> np.float32:
    total = np.float32(0)
    for d in range(judge.vectors.shape[1]):
        if judge.euclidean:
            difference = judge.vectors[a, d] - judge.vectors[b, d]
            total -= difference * difference
        else:
            total += judge.vectors[a, d] * judge.vectors[b, d]
    return total
