"""The compiled loops of mining by labels: the triplets of each image, of those its labels allow."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.index.distances import compare_pair
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
    seed_stream,
)

RngState = NDArray[np.uint64]
# Hardness is sign * score: the hardest positive has the lowest score, the hardest negative the
# highest.
POSITIVE_SIGN, NEGATIVE_SIGN = np.float32(-1), np.float32(1)


class BlockTriplets(NamedTuple):
    """The n triplets of each of A anchors, -1 if there is none.

    positives, negatives: int64 [A, n]. shared: int64 [A], the most labels that an anchor has in
    common with another image, 0 if none can be its positive. overlaps: int64 [A, n], the number of
    labels that a negative shares with anchor or positive.
    """

    positives: Ints
    negatives: Ints
    shared: Ints
    overlaps: Ints


class PoolScorer(NamedTuple):
    """The vectors that decide which of `pool` sampled images is picked: the hardest.

    vectors: float32 [N, D], prepared. With D = 0 and a pool of 1, the sampled image is picked.
    """

    vectors: Vectors
    euclidean: bool
    pool: int


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pick_block(
    sets: DistinctSets,
    start: int,
    scores: Scores,
    scorer: PoolScorer,
    seed: int,
    n: int,
) -> BlockTriplets:
    """Return n triplets of each of the A images members[start:start + A].

    scores: float32 [A, N], with all images in the order of `members`; the hardest is picked.
    Or [A, 0], and images are sampled for `scorer`, from one random stream for each anchor.
    """
    positive_candidates = make_candidates(len(sets.starts) - 1)
    negative_candidates = make_candidates(len(sets.starts) - 1)
    state = np.zeros(1, dtype=np.uint64)
    s, most = -1, 0
    triplets = BlockTriplets(
        np.full((len(scores), n), -1),
        np.full((len(scores), n), -1),
        np.zeros(len(scores), dtype=np.int64),
        np.zeros((len(scores), n), dtype=np.int64),
    )
    for a in range(len(scores)):
        anchor = sets.members[start + a]
        if sets.of[anchor] != s:
            s = sets.of[anchor]
            most = find_most_shared(sets, s, positive_candidates)
        if most > 0:
            triplets.shared[a] = most
            seed_stream(seed, anchor, state)
            positives = _pick_positives(
                sets, anchor, positive_candidates, scores[a], scorer, state, n
            )
            for i in range(n):
                # If one positive has no negatives left, the next one may have some.
                for j in range(i, i + len(positives)):
                    positive = positives[j % len(positives)]
                    _pick_negative(
                        sets,
                        anchor,
                        positive,
                        negative_candidates,
                        scores[a],
                        scorer,
                        state,
                        triplets,
                        a,
                        i,
                    )
                    if triplets.negatives[a, i] >= 0:
                        break
    return triplets


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_positives(
    sets: DistinctSets,
    anchor: int,
    candidates: Candidates,
    scores: Scores,
    scorer: PoolScorer,
    state: RngState,
    n: int,
) -> Ints:
    """Return up to n distinct positives, at least one."""
    excluded = np.full(1 + n, -1, dtype=np.int64)
    excluded[0] = anchor
    distinct = min(n, count_left(sets, candidates, excluded))
    for i in range(distinct):
        excluded[1 + i] = _pick(
            sets, anchor, candidates, excluded, scores, POSITIVE_SIGN, scorer, state
        )
    return excluded[1 : 1 + distinct]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_negative(
    sets: DistinctSets,
    anchor: int,
    positive: int,
    candidates: Candidates,
    scores: Scores,
    scorer: PoolScorer,
    state: RngState,
    triplets: BlockTriplets,
    a: int,
    i: int,
) -> None:
    """Fill triplet i of the anchor, the a-th of its block, unless all with `positive` exist."""
    excluded = np.empty(2 + i, dtype=np.int64)
    excluded[0], excluded[1] = anchor, positive
    excluded[2:] = triplets.negatives[a, :i]
    least, picked = 0, -1
    if len(scores) == 0:
        picked = _pick_disjoint(sets, anchor, positive, excluded, scorer, state)
    if picked < 0:
        # Few images are disjoint or none, or all of them are to be compared: look at every set.
        least = find_least_shared(
            sets, sets.of[anchor], sets.of[positive], excluded[:2], candidates
        )
        if least >= 0 and count_left(sets, candidates, excluded) == 0:
            # The negatives of other positives may be repeated.
            for j in range(i):
                if triplets.positives[a, j] != positive:
                    excluded[2 + j] = -1
        if least >= 0 and count_left(sets, candidates, excluded) > 0:
            picked = _pick(sets, anchor, candidates, excluded, scores, NEGATIVE_SIGN, scorer, state)
    if picked >= 0:
        triplets.positives[a, i], triplets.negatives[a, i] = positive, picked
        triplets.overlaps[a, i] = least


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick(
    sets: DistinctSets,
    anchor: int,
    candidates: Candidates,
    excluded: Ints,
    scores: Scores,
    sign: np.float32,
    scorer: PoolScorer,
    state: RngState,
) -> int:
    """Return the hardest candidate that is not excluded, of all or of a sampled pool.

    There must be one.
    """
    best, hardest = -1, np.float32(0)
    if len(scores) == 0:
        for _ in range(scorer.pool):
            image = sample_candidate(sets, candidates, excluded, state)
            hardness = sign * compare_pair(
                scorer.vectors, anchor, scorer.vectors, image, scorer.euclidean
            )
            if best < 0 or hardness > hardest:
                best, hardest = image, hardness
        return best
    for k in range(candidates.size[0]):
        t = candidates.sets[k]
        for m in range(sets.starts[t], sets.starts[t + 1]):
            image, hardness = sets.members[m], sign * scores[m]
            # The sets are not in the order of their images, which is the order of ties.
            harder = hardness > hardest or (hardness == hardest and image < best)
            if (best < 0 or harder) and not contains(excluded, image):
                best, hardest = image, hardness
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pick_disjoint(
    sets: DistinctSets,
    anchor: int,
    positive: int,
    excluded: Ints,
    scorer: PoolScorer,
    state: RngState,
) -> int:
    """Return the hardest of a sampled pool without a label of anchor or positive.

    -1 if the pool could not be filled.
    """
    best, hardest = -1, np.float32(0)
    for _ in range(scorer.pool):
        image = sample_disjoint(sets, sets.of[anchor], sets.of[positive], excluded, state)
        if image < 0:
            return -1
        hardness = compare_pair(scorer.vectors, anchor, scorer.vectors, image, scorer.euclidean)
        if best < 0 or hardness > hardest:
            best, hardest = image, hardness
    return best
