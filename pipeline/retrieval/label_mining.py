"""Triplets by label sets: a positive with the most labels in common, a negative with none.

Among the pictures that the labels allow, each is drawn evenly; or it is the one that the
embeddings find hardest, of all or of a pool that is drawn.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.labels import LabelSets
from pipeline.retrieval.blocks import over_blocks
from pipeline.retrieval.distances import Gallery, Scores, Vectors, prepare
from pipeline.retrieval.mined import Mined
from pipeline.retrieval.overlap import (
    Candidates,
    DistinctSets,
    contains,
    count_left,
    draw,
    draw_disjoint,
    find_distinct,
    find_least_shared,
    find_most_shared,
    make_candidates,
    seeded,
)
from pipeline.retrieval.picking import insert
from pipeline.retrieval.relevance import Ints

# Blocks of sets that are drawn at once; many more than cores, since some sets take longer.
BLOCKS = 64


@dataclass(frozen=True)
class _Triplets:
    """The n triplets of each of N pictures, -1 where there is none.

    positives, negatives: int64 [N, n]. shared: int64 [N], labels that a picture has in common with
    its positives. overlaps: int64 [N, n], labels that a negative shares with anchor or positive.
    """

    positives: Ints
    negatives: Ints
    shared: Ints
    overlaps: Ints


def mine_labels(
    labels: LabelSets,
    vectors: Vectors | None = None,
    *,
    pool: int | None = None,
    per_anchor: int,
    distance: str = "cosine",
    seed: int,
) -> Mined:
    """Return `per_anchor` triplets of each of N pictures, by the labels that they share.

    The positive is another picture with the most labels in common with the anchor; the negative
    shares no label with either of them, or, where there is no such picture, the fewest (and is
    counted in `overlapping`). An anchor that shares a label with nobody is left out.

    Without `vectors` (float32 [N, D]) each is drawn evenly among those, from `seed`. With them, it
    is the hardest of all, ties by row, or of `pool` drawn ones: the positive of the lowest score,
    the negative of the highest. The smaller the pool, the less extreme, so that mislabelled
    pictures do not fill the triplets.

    The positives and the negatives of an anchor are distinct as far as there are enough, then
    repeat; no triplet stands twice.

    Raises:
        UserError: the embeddings are not finite.
    """
    sets = find_distinct(labels)
    shape = (len(labels), per_anchor)
    found = _Triplets(
        np.full(shape, -1),
        np.full(shape, -1),
        np.zeros(len(labels), np.int64),
        np.zeros(shape, int),
    )
    if vectors is None:
        _draw_all(sets, np.empty((len(labels), 0), np.float32), distance, 1, seed, found)
    elif pool is not None:
        _draw_all(sets, prepare(vectors, distance=distance), distance, pool, seed, found)
    else:
        _search_all(sets, prepare(vectors, distance=distance), distance, found)
    return _tabulate(found)


def _draw_all(
    sets: DistinctSets, vectors: Vectors, distance: str, pool: int, seed: int, found: _Triplets
) -> None:
    limits = np.linspace(0, len(sets.starts) - 1, BLOCKS + 1).astype(int)
    euclidean = distance == "euclidean"

    def block(first: int, last: int) -> None:
        _draw_block(sets, first, last, vectors, euclidean, pool, seed, *vars(found).values())

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(block, limits[:-1], limits[1:]))


def _search_all(sets: DistinctSets, vectors: Vectors, distance: str, found: _Triplets) -> None:
    ordered = vectors[sets.members]  # so that the pictures of one set lie side by side
    gallery = Gallery(ordered, distance=distance)

    def block(start: int, stop: int) -> None:
        scores = gallery.scores(ordered[start:stop])
        _search_block(sets, start, scores, *vars(found).values())

    for _ in over_blocks(block, queries=len(ordered), gallery=len(ordered)):
        pass


def _tabulate(found: _Triplets) -> Mined:
    there = (found.positives >= 0) & (found.negatives >= 0)
    for i in range(1, there.shape[1]):
        for j in range(i):
            same = found.positives[:, i] == found.positives[:, j]
            there[:, i] &= ~(same & (found.negatives[:, i] == found.negatives[:, j]))
    anchors, place = np.nonzero(there)
    lonely = found.positives[:, 0] < 0
    return Mined(
        anchors=anchors,
        positives=found.positives[anchors, place],
        negatives=found.negatives[anchors, place],
        shared=found.shared[anchors].astype(np.int16),
        without_positive=int(lonely.sum()),
        without_negative=int((~lonely & ~there.any(axis=1)).sum()),
        overlapping=int((found.overlaps[anchors, place] > 0).sum()),
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw_block(
    sets: DistinctSets,
    first: int,
    last: int,
    vectors: Vectors,
    euclidean: bool,
    pool: int,
    seed: int,
    positives: Ints,
    negatives: Ints,
    shared: Ints,
    overlaps: Ints,
) -> None:
    """Fill the rows of the pictures that have the sets first:last."""
    like = make_candidates(len(sets.starts) - 1)
    unlike = make_candidates(len(sets.starts) - 1)
    state = np.zeros(1, dtype=np.uint64)
    for s in range(first, last):
        most = find_most_shared(sets, s, like)
        for m in range(sets.starts[s], sets.starts[s + 1] if most > 0 else 0):
            anchor = sets.members[m]
            shared[anchor] = most
            seeded(seed, anchor, state)
            _draw_positives(sets, anchor, like, vectors, euclidean, pool, state, positives[anchor])
            _draw_negatives(
                sets,
                anchor,
                unlike,
                vectors,
                euclidean,
                pool,
                state,
                positives[anchor],
                negatives[anchor],
                overlaps[anchor],
            )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw_positives(
    sets: DistinctSets,
    anchor: int,
    like: Candidates,
    vectors: Vectors,
    euclidean: bool,
    pool: int,
    state: NDArray[np.uint64],
    chosen: Ints,
) -> None:
    barred = np.full(1 + len(chosen), -1, dtype=np.int64)
    barred[0] = anchor
    distinct = min(len(chosen), count_left(sets, like, barred))
    for i in range(len(chosen)):
        if i >= distinct:
            chosen[i] = chosen[i - distinct]
            continue
        best, lowest = -1, np.float32(0)
        for _ in range(pool):
            picture = draw(sets, like, barred, state)
            score = _score(vectors, anchor, picture, euclidean)
            if best < 0 or score < lowest:
                best, lowest = picture, score
        chosen[i] = barred[1 + i] = best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw_negatives(
    sets: DistinctSets,
    anchor: int,
    unlike: Candidates,
    vectors: Vectors,
    euclidean: bool,
    pool: int,
    state: NDArray[np.uint64],
    positives: Ints,
    chosen: Ints,
    overlaps: Ints,
) -> None:
    s = sets.of[anchor]
    barred = np.full(2 + len(chosen), -1, dtype=np.int64)
    for i in range(len(chosen)):
        t = sets.of[positives[i]]
        barred[0], barred[1] = anchor, positives[i]
        never = barred[:2].copy()
        wanted = barred
        best, highest = -1, np.float32(0)
        looked = False
        for _ in range(pool):
            picture = -1 if looked else draw_disjoint(sets, s, t, barred, state)
            if picture < 0:
                if not looked:
                    looked = True
                    overlaps[i] = find_least_shared(sets, s, t, never, unlike)
                    # Where all are taken: one not yet beside this positive, else any again.
                    for fewer in (_beside(barred, positives, chosen, i), never):
                        if overlaps[i] >= 0 and count_left(sets, unlike, wanted) == 0:
                            wanted = fewer
                if overlaps[i] < 0:
                    break
                picture = draw(sets, unlike, wanted, state)
            score = _score(vectors, anchor, picture, euclidean)
            if best < 0 or score > highest:
                best, highest = picture, score
        chosen[i] = barred[2 + i] = best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _beside(barred: Ints, positives: Ints, negatives: Ints, i: int) -> Ints:
    """Return `barred` (anchor, positive, negatives) without negatives of other positives."""
    fewer = barred.copy()
    for j in range(i):
        fewer[2 + j] = negatives[j] if positives[j] == positives[i] else -1
    return fewer


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _search_block(
    sets: DistinctSets,
    start: int,
    scores: Scores,
    positives: Ints,
    negatives: Ints,
    shared: Ints,
    overlaps: Ints,
) -> None:
    """Fill the rows of the pictures members[start:start + A]; scores: float32 [A, N], with the
    pictures in the order of `members`."""
    like = make_candidates(len(sets.starts) - 1)
    unlike = make_candidates(len(sets.starts) - 1)
    barred = np.empty(2, dtype=np.int64)
    n, s, most = positives.shape[1], -1, 0
    for a in range(len(scores)):
        anchor = sets.members[start + a]
        if sets.of[anchor] != s:
            s = sets.of[anchor]
            most = find_most_shared(sets, s, like)
        if most == 0:
            continue
        shared[anchor] = most
        barred[0] = barred[1] = anchor
        farthest, found = _extremes(sets, like, -scores[a], barred, n)
        for i in range(n):
            positives[anchor, i] = farthest[i] if i < found else positives[anchor, i - found]
        t = -1
        for i in range(n):
            barred[1] = positives[anchor, i]
            if sets.of[barred[1]] != t:
                t = sets.of[barred[1]]
                least = find_least_shared(sets, s, t, barred, unlike)
            overlaps[anchor, i] = least
            if least >= 0:
                nearest, found = _extremes(sets, unlike, scores[a], barred, n)
                negatives[anchor, i] = _first_fresh(
                    nearest[:found], positives[anchor], negatives[anchor], i
                )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first_fresh(nearest: Ints, positives: Ints, negatives: Ints, i: int) -> int:
    """Return the nearest that is not taken, or not yet beside positive i, or the nearest again."""
    for other in nearest:
        if not contains(negatives[:i], other):
            return int(other)
    for other in nearest:
        if not contains(negatives[:i][positives[:i] == positives[i]], other):
            return int(other)
    return int(nearest[0])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _extremes(
    sets: DistinctSets, among: Candidates, scores: Scores, barred: Ints, n: int
) -> tuple[Ints, int]:
    """Return the n candidates of the highest score, and how many there are; ties by picture."""
    pictures = np.full(n, -1, dtype=np.int64)
    best = np.empty(n, dtype=np.float32)
    found = 0
    for k in range(among.size[0]):
        t = among.sets[k]
        for m in range(sets.starts[t], sets.starts[t + 1]):
            if (found < n or scores[m] >= best[n - 1]) and not contains(barred, sets.members[m]):
                found = insert(pictures, best, found, sets.members[m], scores[m])
    return pictures, found


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _score(vectors: Vectors, a: int, b: int, euclidean: bool) -> np.float32:
    total = np.float32(0)
    for d in range(vectors.shape[1]):
        if euclidean:
            difference = vectors[a, d] - vectors[b, d]
            total -= difference * difference
        else:
            total += vectors[a, d] * vectors[b, d]
    return total
