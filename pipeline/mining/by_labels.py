"""Triplets by label sets: a positive with the most labels in common, a negative with none.

Among the images that the labels allow, one is sampled evenly, or it is the hardest by embeddings,
of all of them or of a sampled pool.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.data.arrays import Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.query_blocks import map_query_blocks
from pipeline.mining.label_kernels import PoolScorer, TripletBuffers, pick_block
from pipeline.mining.label_overlap import DistinctSets, find_distinct
from pipeline.mining.triplets import MinedTriplets

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

    Raises:
        UserError: the embeddings are not finite.
    """
    sets = find_distinct(labels)
    buffers = TripletBuffers(
        positives=np.full((len(labels), per_anchor), -1),
        negatives=np.full((len(labels), per_anchor), -1),
        shared=np.zeros(len(labels), dtype=np.int64),
        overlaps=np.zeros((len(labels), per_anchor), dtype=np.int64),
    )
    prepared = None if vectors is None else prepare_vectors(vectors, distance=distance)
    if prepared is not None and pool is None:
        _pick_hardest(sets, prepared, distance, buffers)
    else:
        no_vectors = np.empty((len(labels), 0), dtype=np.float32)
        of_images = no_vectors if prepared is None else prepared
        _sample(sets, PoolScorer(of_images, distance == "euclidean", pool or 1), seed, buffers)
    return _list_triplets(buffers)


def _sample(sets: DistinctSets, scorer: PoolScorer, seed: int, buffers: TripletBuffers) -> None:
    limits = np.linspace(0, len(sets.members), SAMPLING_BLOCKS + 1).astype(int)

    def sample_block(start: int, stop: int) -> None:
        no_scores = np.empty((stop - start, 0), dtype=np.float32)
        pick_block(sets, start, no_scores, scorer, seed, buffers)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(sample_block, limits[:-1], limits[1:]))


def _pick_hardest(
    sets: DistinctSets, vectors: Vectors, distance: str, buffers: TripletBuffers
) -> None:
    ordered = vectors[sets.members]  # so that the images of one set are adjacent
    gallery = GalleryScorer(ordered, distance=distance)
    unused = PoolScorer(vectors, False, 0)

    def pick(start: int, stop: int) -> None:
        pick_block(sets, start, gallery.score(ordered[start:stop]), unused, 0, buffers)

    for _ in map_query_blocks(pick, queries=len(ordered), gallery=len(ordered)):
        pass


def _list_triplets(buffers: TripletBuffers) -> MinedTriplets:
    exists = buffers.negatives >= 0
    anchors, place = np.nonzero(exists)
    without_positive = buffers.shared == 0
    return MinedTriplets(
        anchors=anchors,
        positives=buffers.positives[anchors, place],
        negatives=buffers.negatives[anchors, place],
        shared=buffers.shared[anchors].astype(np.int16),
        without_positive=int(without_positive.sum()),
        without_negative=int((~without_positive & ~exists.any(axis=1)).sum()),
        overlapping=int((buffers.overlaps[anchors, place] > 0).sum()),
    )
