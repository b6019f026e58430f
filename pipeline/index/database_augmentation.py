"""Database augmentation: each image of the gallery becomes the mean of itself and its neighbors."""

import numpy as np

from pipeline.data.arrays import Mask, Vectors
from pipeline.data.joins import EmbeddedSplit
from pipeline.errors import UserError
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.exact_search import average_with_nearest
from pipeline.index.postprocessing import Postprocessing
from pipeline.workers import HERE, Workers

MOST = 200_000  # images, as all pairs are compared


def can_be_augmented(is_query: Mask, is_gallery: Mask) -> bool:
    """Return whether no query is in the gallery, bool [N] each.

    Where one is, its neighbors would be averaged with it, and so be found by it: what is measured
    would be better than what a photo that is not in the gallery finds.
    """
    return not (is_query & is_gallery).any()


def vectors_to_index(
    done: Postprocessing,
    images: EmbeddedSplit,
    *,
    of_validation: bool = True,
    workers: Workers = HERE,
) -> Vectors:
    """Return float32 [N, d], the images as an index has them: those of the gallery augmented.

    images: with mapped vectors, float32 [N, d]. of_validation: False where validation images are
    the queries, so that they have no part in the gallery that is augmented.

    Raises:
        UserError: they cannot be augmented, or are too many.
    """
    if not done.database_augmentation:
        return images.vectors
    if not can_be_augmented(images.is_query, images.is_gallery):
        raise UserError(
            f"postprocess: found database_augmentation {done.database_augmentation} with queries "
            "that are in the gallery, whose neighbors would be averaged with them, and so be found "
            "by them; allowed: 0; or a split whose gallery is apart from its queries"
        )
    indexed = prepare_vectors(images.vectors, distance=done.distance).copy()
    rows = np.flatnonzero(images.is_gallery & (of_validation | (images.split != "val")))
    indexed[rows] = augment(done, images.vectors[rows], workers=workers)
    return indexed


def augment(done: Postprocessing, vectors: Vectors, *, workers: Workers = HERE) -> Vectors:
    """Return float32 [N, d], prepared: each image averaged with its nearest others.

    Raises:
        UserError: they are too many.
    """
    count = done.database_augmentation
    if not count or not len(vectors):
        return vectors
    if len(vectors) > MOST:
        raise UserError(
            f"postprocess: found database_augmentation {count} with {len(vectors):,} images, of "
            f"which all pairs would be compared; allowed: 0, or at most {MOST:,} images"
        )
    prepared = prepare_vectors(vectors, distance=done.distance)
    scorer = GalleryScorer(prepared, distance=done.distance)
    rows = np.arange(len(prepared))
    return average_with_nearest(prepared, scorer, prepared, rows, count, workers=workers)
