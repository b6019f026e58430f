"""Database augmentation: each image of the gallery becomes the mean of itself and its neighbors."""

import numpy as np

from pipeline.data.arrays import Ints, Mask, Vectors
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
    postprocessing: Postprocessing,
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
    count = postprocessing.steps.database_augmentation
    if count and not can_be_augmented(images.is_query, images.is_gallery):
        raise UserError(
            f"postprocess: found database_augmentation {count} with queries that are in the "
            "gallery, whose neighbors would be averaged with them, and so be found by them; "
            "allowed: 0; or a split whose gallery is apart from its queries"
        )
    rows = np.flatnonzero(images.is_gallery & (of_validation | (images.split != "val")))
    return augment_rows(postprocessing, images.vectors, rows, workers=workers)


def augment_rows(
    postprocessing: Postprocessing, vectors: Vectors, rows: Ints, *, workers: Workers = HERE
) -> Vectors:
    """Return float32 [N, d]: each image of `rows` averaged with its nearest others among them.

    Raises:
        UserError: they are too many.
    """
    count = postprocessing.steps.database_augmentation
    if not count or not len(rows):
        return vectors
    if len(rows) > MOST:
        raise UserError(
            f"postprocess: found database_augmentation {count} with {len(rows):,} images, of "
            f"which all pairs would be compared; allowed: 0, or at most {MOST:,} images"
        )
    indexed = prepare_vectors(vectors, distance=postprocessing.distance).copy()
    own, places = indexed[rows], np.arange(len(rows))
    scorer = GalleryScorer(own, distance=postprocessing.distance)
    indexed[rows] = average_with_nearest(own, scorer, own, places, count, workers=workers)
    return indexed
