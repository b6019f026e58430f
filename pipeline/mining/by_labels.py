"""Triplets by label sets: a positive with the most labels in common, a negative with none.

Among the images that the labels allow, one is sampled evenly, or it is the hardest by embeddings,
of all of them or of a sampled pool.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np

from pipeline.data.arrays import Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.query_blocks import map_query_blocks
from pipeline.mining.label_kernels import BlockTriplets, PoolScorer, pick_block
from pipeline.mining.label_overlap import DistinctSets, find_distinct
from pipeline.mining.triplets import MinedTriplets
from pipeline.workers import HERE, Workers

# Many more blocks of images than cores, because some take longer.
SAMPLING_BLOCKS = 64


def mine_by_labels(
    labels: LabelSets,
    vectors: Vectors | None = None,
    *,
    pool: int | None = None,
    per_anchor: int,
    distance: str = "cosine",
    seed: int,
    workers: Workers = HERE,
) -> MinedTriplets:
    """Return `per_anchor` triplets of each of N images, by the labels that they share.

    The positive is another image with the most labels in common with the anchor. The negative
    shares no label with either of them; if there is no such image, it shares the fewest, and is
    counted in `overlapping`. An anchor that shares no label with any image is left out.

    Without `vectors` (float32 [N, D]), positives and negatives are sampled evenly from these
    images, by `seed`. With `vectors`, they are the hardest of all, ties by row, or of `pool`
    sampled ones: the positive with the lowest score, the negative with the highest. A smaller pool
    gives less extreme triplets, which fewer mislabelled images get into.

    The positives and the negatives of an anchor are distinct as long as there are enough, then
    repeat. No triplet is repeated, so an anchor with few possible triplets has fewer.

    workers: each mines for some of the anchors.

    Raises:
        UserError: the embeddings are not finite.
    """
    sets = find_distinct(labels)
    prepared = None if vectors is None else prepare_vectors(vectors, distance=distance)
    if prepared is not None and pool is None:
        blocks = _pick_hardest(sets, prepared, distance, per_anchor, workers)
    else:
        no_vectors = np.empty((len(labels), 0), dtype=np.float32)
        of_images = no_vectors if prepared is None else prepared
        scorer = PoolScorer(of_images, distance == "euclidean", pool or 1)
        blocks = _sample(sets, scorer, seed, per_anchor, workers)
    return _list_triplets(_join_blocks(blocks, sets))


def _sample(
    sets: DistinctSets, scorer: PoolScorer, seed: int, n: int, workers: Workers
) -> list[BlockTriplets]:
    limits = np.linspace(0, len(sets.members), SAMPLING_BLOCKS + 1).astype(int).tolist()
    work = partial(_sample_block, sets, scorer, seed, n)
    if not workers.are_here:
        return list(workers.map(work, pairwise(limits)))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(work, pairwise(limits)))


def _sample_block(
    sets: DistinctSets, scorer: PoolScorer, seed: int, n: int, limits: tuple[int, int]
) -> BlockTriplets:
    start, stop = limits
    no_scores = np.empty((stop - start, 0), dtype=np.float32)
    triplets: BlockTriplets = pick_block(sets, start, no_scores, scorer, seed, n)
    return triplets


def _pick_hardest(
    sets: DistinctSets, vectors: Vectors, distance: str, n: int, workers: Workers
) -> list[BlockTriplets]:
    ordered = vectors[sets.members]  # so that the images of one set are adjacent
    pick = partial(_pick_hardest_block, sets, ordered, GalleryScorer(ordered, distance=distance), n)
    size = len(ordered)
    blocks = list(map_query_blocks(pick, queries=size, gallery=size, workers=workers, what="mine"))
    return blocks or [pick(0, 0)]


def _pick_hardest_block(
    sets: DistinctSets, ordered: Vectors, gallery: GalleryScorer, n: int, start: int, stop: int
) -> BlockTriplets:
    unused = PoolScorer(ordered, False, 0)
    scores = gallery.score(ordered[start:stop])
    triplets: BlockTriplets = pick_block(sets, start, scores, unused, 0, n)
    return triplets


def _join_blocks(blocks: Sequence[BlockTriplets], sets: DistinctSets) -> BlockTriplets:
    """Return the triplets of all images, those of blocks of `sets.members` in turn."""
    joined = BlockTriplets(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))
    place = np.argsort(sets.members)
    return BlockTriplets(*(array[place] for array in joined))


def _list_triplets(triplets: BlockTriplets) -> MinedTriplets:
    exists = triplets.negatives >= 0
    anchors, place = np.nonzero(exists)
    without_positive = triplets.shared == 0
    return MinedTriplets(
        anchors=anchors,
        positives=triplets.positives[anchors, place],
        negatives=triplets.negatives[anchors, place],
        shared=triplets.shared[anchors].astype(np.int16),
        without_positive=int(without_positive.sum()),
        without_negative=int((~without_positive & ~exists.any(axis=1)).sum()),
        overlapping=int((triplets.overlaps[anchors, place] > 0).sum()),
    )
