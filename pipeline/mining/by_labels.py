"""Triplets by label sets: a positive with the most labels in common, a negative with none.

Among the images that the labels allow, each is drawn evenly; or it is the one that the
embeddings find hardest, of all or of a pool that is drawn.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.data.arrays import Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.query_blocks import map_query_blocks
from pipeline.mining.label_kernels import Hardness, TripletBuffers, pick_block
from pipeline.mining.label_overlap import DistinctSets, find_distinct
from pipeline.mining.triplets import MinedTriplets

# Blocks of images that are drawn for at once; many more than cores, since some take longer.
BLOCKS = 64


def mine_labels(
    labels: LabelSets,
    vectors: Vectors | None = None,
    *,
    pool: int | None = None,
    per_anchor: int,
    distance: str = "cosine",
    seed: int,
) -> MinedTriplets:
    """Return `per_anchor` triplets of each of N images, by the labels that they share.

    The positive is another image with the most labels in common with the anchor; the negative
    shares no label with either of them, or, where there is no such image, the fewest (and is
    counted in `overlapping`). An anchor that shares a label with nobody is left out.

    Without `vectors` (float32 [N, D]) each is drawn evenly among those, from `seed`. With them, it
    is the hardest of all, ties by row, or of `pool` drawn ones: the positive of the lowest score,
    the negative of the highest. The smaller the pool, the less extreme, so that mislabelled
    images do not fill the triplets.

    The positives and the negatives of an anchor are distinct as far as there are enough, then
    repeat; no triplet stands twice, so an anchor has fewer where those positives allow no more.

    Raises:
        UserError: the embeddings are not finite.
    """
    sets = find_distinct(labels)
    found = TripletBuffers(
        positives=np.full((len(labels), per_anchor), -1),
        negatives=np.full((len(labels), per_anchor), -1),
        shared=np.zeros(len(labels), dtype=np.int64),
        overlaps=np.zeros((len(labels), per_anchor), dtype=np.int64),
    )
    known = None if vectors is None else prepare_vectors(vectors, distance=distance)
    if known is not None and pool is None:
        _search_all(sets, known, distance, found)
    else:
        known = np.empty((len(labels), 0), dtype=np.float32) if known is None else known
        _sample_all(sets, Hardness(known, distance == "euclidean", pool or 1), seed, found)
    return _tabulate(found)


def _sample_all(sets: DistinctSets, judge: Hardness, seed: int, found: TripletBuffers) -> None:
    limits = np.linspace(0, len(sets.members), BLOCKS + 1).astype(int)

    def block(start: int, stop: int) -> None:
        unscored = np.empty((stop - start, 0), dtype=np.float32)
        pick_block(sets, start, unscored, judge, seed, found)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(block, limits[:-1], limits[1:]))


def _search_all(sets: DistinctSets, vectors: Vectors, distance: str, found: TripletBuffers) -> None:
    ordered = vectors[sets.members]  # so that the images of one set lie side by side
    gallery = GalleryScorer(ordered, distance=distance)
    nothing_drawn = Hardness(vectors, False, 0)

    def block(start: int, stop: int) -> None:
        pick_block(sets, start, gallery.score(ordered[start:stop]), nothing_drawn, 0, found)

    for _ in map_query_blocks(block, queries=len(ordered), gallery=len(ordered)):
        pass


def _tabulate(found: TripletBuffers) -> MinedTriplets:
    there = found.negatives >= 0
    anchors, place = np.nonzero(there)
    lonely = found.shared == 0
    return MinedTriplets(
        anchors=anchors,
        positives=found.positives[anchors, place],
        negatives=found.negatives[anchors, place],
        shared=found.shared[anchors].astype(np.int16),
        without_positive=int(lonely.sum()),
        without_negative=int((~lonely & ~there.any(axis=1)).sum()),
        overlapping=int((found.overlaps[anchors, place] > 0).sum()),
    )
