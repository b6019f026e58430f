"""Triplets by embeddings: for each anchor, positives and negatives of some hardness.

To add another method of mining, write a module with a function that returns `MinedTriplets`, call
it in METHODS of `stages/mine.py`, and add its name to `mine.method` in `pipeline/config/schema.py`.
"""

from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np

from pipeline.data.arrays import Floats, Ints, Mask, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.build import FAISS_METRICS
from pipeline.index.distances import (
    GalleryScorer,
    prepare_vectors,
    score_pair_lists,
    score_pairs,
    subtract,
)
from pipeline.index.relevance import Relevance, RelevantPairs, find_relevance, sample_pairs
from pipeline.index.search import scores_from_faiss
from pipeline.mining.embedding_kernels import (
    find_reachable_negatives,
    pick_negatives,
    pick_positives,
)
from pipeline.mining.triplets import MinedTriplets
from pipeline.progress import show_progress
from pipeline.workers import HERE, Workers

ANCHORS_AT_ONCE = 1024
# A search fetches FIRST_FETCH neighbors of each anchor. Anchors whose negatives are not among them
# fetch FETCH_GROWTH times as many, up to MAX_FETCH; beyond that, sorting in faiss costs more than
# looking at all scores of the anchor.
FIRST_FETCH, FETCH_GROWTH, MAX_FETCH = 32, 4, 512
EXHAUSTIVE_ANCHORS_AT_ONCE = 128


def mine_by_embeddings(
    embeddings: Vectors,
    labels: LabelSets,
    *,
    positives: str,
    negatives: str,
    per_anchor: int,
    distance: str,
    seed: int,
    candidates: int | None = None,
    workers: Workers = HERE,
) -> MinedTriplets:
    """Return `per_anchor` triplets of each of N images, by the distance of their embeddings.

    positives: `hard`, the farthest images that share a label; `easy`, the nearest; `random`.
    negatives: `hard`, the nearest images that share no label; `semi_hard`, the nearest of those
    that are farther than the positive (Schroff et al.: FaceNet, 2015); `random`. Ties are in the
    order of rows; whether two images tie is decided by the scores of `score_pairs`.

    The positives and the negatives of an anchor are distinct as long as there are enough, then
    repeat from the first; no triplet is repeated. A positive without a negative gives no triplet.

    embeddings: float32 [N, D]. candidates: the nearest negatives are those of this many images,
    sampled for all anchors, so that the work grows with N instead of its square; None: of all.
    workers: each mines for some of the anchors.

    Raises:
        UserError: the embeddings are not finite.
    """
    everything = np.ones(len(labels), dtype=bool)
    vectors = prepare_vectors(embeddings, distance=distance)
    relevance = find_relevance(labels, everything, everything)
    uniforms = np.random.default_rng(seed).random((len(labels), per_anchor, 2))
    if candidates is None or candidates >= len(labels):
        pool = _Pool(np.arange(len(labels)), vectors, relevance, distance)
    else:
        in_pool = sample_pool(len(labels), candidates, seed=seed)
        of_pool = find_relevance(labels, everything, in_pool)
        pool = _Pool(np.flatnonzero(in_pool), vectors[in_pool], of_pool, distance)
    images = _Images(vectors, relevance, pool, distance)
    work = partial(_mine_block, images, uniforms, positives=positives, negatives=negatives)
    starts = range(0, max(len(labels), 1), ANCHORS_AT_ONCE)
    mined = show_progress(workers.map(work, starts), total=len(starts), what="mine")
    return _join_blocks(list(mined))


def sample_pool(images: int, candidates: int, *, seed: int) -> Mask:
    """Return bool [N]: which of N images are among the candidates, sampled evenly."""
    in_pool = np.zeros(images, dtype=bool)
    # Another stream than that of the pairs, which this would change.
    in_pool[np.random.default_rng([seed, 1]).choice(images, candidates, replace=False)] = True
    return in_pool


@dataclass(frozen=True)
class _AnchorBlock:
    """A anchors. rows: int64 [A], ascending. pairs: the images that share a label with them, and
    pool_pairs those of the pool. own: int64 [A], the row of an anchor in the pool, -1 for none."""

    rows: Ints
    pairs: RelevantPairs
    pool_pairs: RelevantPairs
    own: Ints


class _Pool:
    """M of N images, of which an anchor's nearest negatives are: the row of each among all,
    prepared vectors float32 [M, D], to which of the N they are relevant, and a flat index of them.
    """

    def __init__(self, rows: Ints, vectors: Vectors, relevance: Relevance, distance: str) -> None:
        self.rows, self.vectors, self.relevance, self.distance = rows, vectors, relevance, distance
        self.scorer = GalleryScorer(vectors, distance=distance)
        self.index = faiss.IndexFlat(vectors.shape[1], FAISS_METRICS[distance])
        self.index.add(self.scorer.vectors)

    def __reduce__(self) -> tuple[type, tuple[Ints, Vectors, Relevance, str]]:
        return (_Pool, (self.rows, self.vectors, self.relevance, self.distance))

    def score(self, queries: Vectors, rows: Ints) -> Scores:
        """Return float32 [A, K], the scores of queries with rows of the pool, int64 [A, K]."""
        return score_pairs(queries, self.vectors, rows, distance=self.distance)

    def search(self, queries: Vectors, count: int) -> tuple[Ints, Scores]:
        """Return the nearest rows of each query, int64 [A, count], and a bound, float32 [A].

        No other image scores above the bound by `score_pairs`, whose last bits differ from those
        of faiss.
        """
        found, rows = self.index.search(subtract(queries, self.scorer.centre), count)
        last = scores_from_faiss(found[:, -1:], distance=self.distance)
        return rows, self.scorer.upper_bounds(last, queries)[:, 0]


@dataclass(frozen=True)
class _Images:
    """All N images: prepared vectors float32 [N, D], their relevance, and the pool of negatives."""

    vectors: Vectors
    relevance: Relevance
    pool: _Pool
    distance: str

    @property
    def pool_is_sample(self) -> bool:
        """Whether the pool is not all of the images."""
        return len(self.pool.rows) < len(self.vectors)

    def take(self, start: int, stop: int) -> _AnchorBlock:
        """Return the anchors start:stop."""
        pairs = self.relevance.pairs(start, stop)
        of_pool = self.pool.relevance
        return _AnchorBlock(
            np.arange(start, stop),
            pairs,
            of_pool.pairs(start, stop) if self.pool_is_sample else pairs,
            of_pool.own_rows[start:stop],
        )


def _mine_block(
    images: _Images, uniforms: Floats, start: int, *, positives: str, negatives: str
) -> MinedTriplets:
    """Return the triplets of the anchors from `start` on. uniforms: float64 [N, n, 2]."""
    stop = min(start + ANCHORS_AT_ONCE, len(uniforms))
    block = images.take(start, stop)
    sampled = sample_pairs(block.pairs, block.rows, len(uniforms), uniforms=uniforms[start:stop])
    of_block = _mine_positives(images, block, sampled[0], hardness=positives)
    against = _mine_negatives(images, block, of_block, sampled[1], hardness=negatives)
    return _list_triplets(block, of_block, against)


def _mine_positives(images: _Images, block: _AnchorBlock, sampled: Ints, *, hardness: str) -> Ints:
    """Return int64 [A, n]: the positives of each anchor, -1 if it has none."""
    if hardness == "random":
        return sampled
    scores = score_pair_lists(
        images.vectors[block.rows],
        images.vectors,
        block.pairs.starts,
        block.pairs.rows,
        distance=images.distance,
    )
    return pick_positives(block.pairs, scores, sampled.shape[1], nearest=hardness == "easy")


def _mine_negatives(
    images: _Images, block: _AnchorBlock, positives: Ints, sampled: Ints, *, hardness: str
) -> Ints:
    """Return int64 [A, n]: a negative for each of `positives`, -1 if there is none."""
    if hardness == "random":
        return np.where(positives < 0, -1, sampled)
    anchors, pool = images.vectors[block.rows], images.pool
    scores = score_pairs(anchors, images.vectors, positives, distance=images.distance)
    limits = _limit_scores(scores, semi_hard=hardness == "semi_hard")
    negatives = np.full(positives.shape, -1, dtype=np.int64)
    pending, count = np.arange(len(block.rows)), FIRST_FETCH
    while len(pending) and count <= MAX_FETCH and count < len(pool.rows):
        rows, others_at_most = pool.search(anchors[pending], count)
        picked, certain = pick_negatives(
            block.pool_pairs.take(pending),
            block.own[pending],
            rows,
            pool.score(anchors[pending], rows),
            limits[pending],
            others_at_most,
        )
        negatives[pending] = picked
        pending, count = pending[~certain], FETCH_GROWTH * count
    splits = range(EXHAUSTIVE_ANCHORS_AT_ONCE, len(pending), EXHAUSTIVE_ANCHORS_AT_ONCE)
    for some in np.split(pending, splits):
        negatives[some] = _mine_negatives_exhaustively(
            pool, block.pool_pairs.take(some), block.own[some], anchors[some], limits[some]
        )
    return np.where(negatives < 0, -1, pool.rows[negatives])


def _mine_negatives_exhaustively(
    pool: _Pool, pairs: RelevantPairs, own: Ints, anchors: Vectors, limits: Scores
) -> Ints:
    """Return the negatives, among the whole pool, of anchors float32 [A, D].

    One matrix product scores all images, except for its last bits. The images whose choice may
    depend on these bits are scored again by `score_pairs`.
    """
    scores = pool.scorer.score(anchors)
    lowest = pool.scorer.lower_bounds(scores, anchors)
    highest = pool.scorer.upper_bounds(scores, anchors)
    rows = find_reachable_negatives(pairs, own, lowest, highest, limits)
    no_others = np.full(len(anchors), -np.inf, dtype=np.float32)
    return pick_negatives(pairs, own, rows, pool.score(anchors, rows), limits, no_others)[0]


def _limit_scores(positive_scores: Scores, *, semi_hard: bool) -> Scores:
    """Return the score that a negative must be below: infinity, or the positive's if `semi_hard`.

    -inf if there is no positive.
    """
    if semi_hard:
        return positive_scores
    return np.where(positive_scores > -np.inf, np.float32(np.inf), positive_scores)


def _list_triplets(block: _AnchorBlock, positives: Ints, negatives: Ints) -> MinedTriplets:
    """Return the triplets of a block: positives, negatives int64 [A, n], -1 for none."""
    valid = (positives >= 0) & (negatives >= 0)
    for i in range(1, valid.shape[1]):
        for j in range(i):
            same = (positives[:, i] == positives[:, j]) & (negatives[:, i] == negatives[:, j])
            valid[:, i] &= ~same
    a, place = np.nonzero(valid)
    chosen = positives[a, place]
    # A pair (anchor, row) as one number; these are ascending, so a search finds a positive's gain.
    size = block.pairs.rows.max(initial=0) + 1
    anchor_of = np.repeat(np.arange(len(block.rows)), block.pairs.counts)
    pair = np.searchsorted(anchor_of * size + block.pairs.rows, a * size + chosen)
    without_positive = block.pairs.counts == 0
    return MinedTriplets(
        anchors=block.rows[a],
        positives=chosen,
        negatives=negatives[a, place],
        shared=block.pairs.gains[pair].astype(np.int16),
        without_positive=int(without_positive.sum()),
        without_negative=int((~without_positive & ~valid.any(axis=1)).sum()),
    )


def _join_blocks(blocks: list[MinedTriplets]) -> MinedTriplets:
    return MinedTriplets(
        anchors=np.concatenate([block.anchors for block in blocks]),
        positives=np.concatenate([block.positives for block in blocks]),
        negatives=np.concatenate([block.negatives for block in blocks]),
        shared=np.concatenate([block.shared for block in blocks]),
        without_positive=sum(block.without_positive for block in blocks),
        without_negative=sum(block.without_negative for block in blocks),
    )
