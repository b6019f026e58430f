"""Triplets for training, mined offline: for each anchor, positives and negatives of some hardness.

Another source of triplets (`mine.method`) is another module with a function that returns `Mined`,
and a line in the dict METHODS of `stages/mine.py`.
"""

from dataclasses import dataclass

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.build import FAISS_METRICS
from pipeline.index.distances import GalleryScorer, prepare_vectors, score_pair_lists, score_pairs
from pipeline.index.relevance import Relevance, RelevantPairs, find_relevance, sample_pairs
from pipeline.mining.embedding_kernels import negatives_in_reach, pick_negatives, pick_positives
from pipeline.mining.triplets import MinedTriplets

ANCHORS_AT_ONCE = 1024
# Anchors whose negatives are not among the first FIRST nearest are asked for GROWTH times as many,
# up to MOST; beyond that, faiss sorts more than it costs to look at all scores of the anchor.
FIRST, GROWTH, MOST = 32, 4, 512
WHOLE_ROWS_AT_ONCE = 128


def mine_embeddings(
    embeddings: Vectors,
    labels: LabelSets,
    *,
    positives: str,
    negatives: str,
    per_anchor: int,
    distance: str,
    seed: int,
) -> MinedTriplets:
    """Return `per_anchor` triplets of each of N images, by the distance of their embeddings.

    positives: `hard`, the farthest that share a label; `easy`, the nearest; `random`.
    negatives: `hard`, the nearest that share none; `semi_hard`, the nearest that are farther than
    the positive (Schroff et al.: FaceNet, 2015); `random`. Ties go by row, and what ties is what
    `score_pairs` says, however an image was found.

    The positives and the negatives of an anchor are distinct as far as there are enough, then
    repeat in turn; no triplet stands twice. A positive that has no negative gives no triplet.

    embeddings: float32 [N, D].

    Raises:
        UserError: the embeddings are not finite.
    """
    everyone = np.ones(len(labels), dtype=bool)
    vectors = prepare_vectors(embeddings, distance=distance)
    space = _Space(vectors, find_relevance(labels, everyone, everyone), distance)
    uniforms = np.random.default_rng(seed).random((len(labels), per_anchor, 2))
    blocks = []
    for start in range(0, max(len(labels), 1), ANCHORS_AT_ONCE):
        stop = min(start + ANCHORS_AT_ONCE, len(labels))
        block = _Block(np.arange(start, stop), space.relevance.pairs(start, stop))
        drawn = sample_pairs(block.pairs, block.rows, len(labels), uniforms=uniforms[start:stop])
        chosen = _positives(space, block, drawn[0], hardness=positives)
        refused = _negatives(space, block, chosen, drawn[1], hardness=negatives)
        blocks.append(_tabulate(block, chosen, refused))
    return _join(blocks)


@dataclass(frozen=True)
class _Block:
    """A anchors. rows: int64 [A], ascending. pairs: the images that share a label with them."""

    rows: Ints
    pairs: RelevantPairs


class _Space:
    """All N images: prepared vectors float32 [N, D] and who shares a label with whom."""

    def __init__(self, vectors: Vectors, relevance: Relevance, distance: str) -> None:
        self.vectors, self.relevance, self.distance = vectors, relevance, distance
        self.gallery = GalleryScorer(vectors, distance=distance)
        self.index = faiss.IndexFlat(vectors.shape[1], FAISS_METRICS[distance])
        self.index.add(vectors)

    def scores(self, anchors: Ints, rows: Ints) -> Scores:
        """Return float32 [A, K], the scores of each anchor with its `rows`, int64 [A, K]."""
        return score_pairs(self.vectors[anchors], self.vectors, rows, distance=self.distance)

    def search(self, anchors: Ints, fetch: int) -> tuple[Ints, Scores]:
        """Return the rows nearest to each anchor, int64 [A, fetch], and what others score at most.

        The latter, float32 [A], is by `score_pairs`: faiss, too, sums in an order of its own.
        """
        found, rows = self.index.search(self.vectors[anchors], fetch)
        last = found[:, -1:]
        if self.distance == "euclidean":
            last = -np.sqrt(np.maximum(last, 0))  # faiss gives the squared distance
        return rows, self.gallery.upper_bounds(last, self.vectors[anchors])[:, 0]


def _positives(space: _Space, block: _Block, drawn: Ints, *, hardness: str) -> Ints:
    """Return int64 [A, n], -1 where an anchor has none."""
    if hardness == "random":
        return drawn
    scores = score_pair_lists(
        space.vectors[block.rows],
        space.vectors,
        block.pairs.starts,
        block.pairs.rows,
        distance=space.distance,
    )
    return pick_positives(block.pairs, scores, drawn.shape[1], nearest=hardness == "easy")


def _negatives(
    space: _Space, block: _Block, positives: Ints, drawn: Ints, *, hardness: str
) -> Ints:
    """Return int64 [A, n], a negative for each of `positives`; -1 where there is none."""
    if hardness == "random":
        return np.where(positives < 0, -1, drawn)
    semi_hard = hardness == "semi_hard"
    negatives = np.full(positives.shape, -1, dtype=np.int64)
    waiting, fetch = np.arange(len(block.rows)), FIRST
    while len(waiting) and fetch <= MOST and fetch < len(space.vectors):
        anchors = block.rows[waiting]
        rows, beyond = space.search(anchors, fetch)
        picked, certain = pick_negatives(
            block.pairs.take(waiting),
            anchors,
            rows,
            space.scores(anchors, rows),
            _limits(space.scores(anchors, positives[waiting]), semi_hard=semi_hard),
            beyond,
        )
        negatives[waiting] = picked
        waiting, fetch = waiting[~certain], GROWTH * fetch
    for some in np.split(waiting, range(WHOLE_ROWS_AT_ONCE, len(waiting), WHOLE_ROWS_AT_ONCE)):
        negatives[some] = _negatives_among_all(
            space, block, some, positives[some], semi_hard=semi_hard
        )
    return negatives


def _negatives_among_all(
    space: _Space, block: _Block, some: Ints, positives: Ints, *, semi_hard: bool
) -> Ints:
    """Return the negatives of the block's anchors `some`, of all images.

    One matrix product scores them all, but for its last bits; those that these could decide about
    are scored again, as `score_pairs` does.
    """
    anchors, pairs = block.rows[some], block.pairs.take(some)
    vectors = space.vectors[anchors]
    limits = _limits(space.scores(anchors, positives), semi_hard=semi_hard)
    scores = space.gallery.score(vectors)
    lowest, highest = (
        space.gallery.lower_bounds(scores, vectors),
        space.gallery.upper_bounds(scores, vectors),
    )
    rows = negatives_in_reach(pairs, anchors, lowest, highest, limits)
    none_beyond = np.full(len(some), -np.inf, dtype=np.float32)
    scores = space.scores(anchors, rows)
    return pick_negatives(pairs, anchors, rows, scores, limits, none_beyond)[0]


def _limits(positive_scores: Scores, *, semi_hard: bool) -> Scores:
    """Return what a negative must score below: its positive, or anything where one there is."""
    if semi_hard:
        return positive_scores
    return np.where(positive_scores > -np.inf, np.float32(np.inf), positive_scores)


def _tabulate(block: _Block, positives: Ints, negatives: Ints) -> MinedTriplets:
    """Return the triplets of a block: positives, negatives int64 [A, n], -1 for none."""
    there = (positives >= 0) & (negatives >= 0)
    for i in range(1, there.shape[1]):
        for j in range(i):
            same = (positives[:, i] == positives[:, j]) & (negatives[:, i] == negatives[:, j])
            there[:, i] &= ~same
    a, place = np.nonzero(there)
    chosen = positives[a, place]
    # (anchor, row) as one number, ascending in the pairs, finds each positive's gain.
    size = block.pairs.rows.max(initial=0) + 1
    owners = np.repeat(np.arange(len(block.rows)), block.pairs.counts)
    found = np.searchsorted(owners * size + block.pairs.rows, a * size + chosen)
    lonely = block.pairs.counts == 0
    return MinedTriplets(
        anchors=block.rows[a],
        positives=chosen,
        negatives=negatives[a, place],
        shared=block.pairs.gains[found].astype(np.int16),
        without_positive=int(lonely.sum()),
        without_negative=int((~lonely & ~there.any(axis=1)).sum()),
    )


def _join(blocks: list[MinedTriplets]) -> MinedTriplets:
    return MinedTriplets(
        anchors=np.concatenate([block.anchors for block in blocks]),
        positives=np.concatenate([block.positives for block in blocks]),
        negatives=np.concatenate([block.negatives for block in blocks]),
        shared=np.concatenate([block.shared for block in blocks]),
        without_positive=sum(block.without_positive for block in blocks),
        without_negative=sum(block.without_negative for block in blocks),
    )
