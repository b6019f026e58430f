"""Database augmentation: each image in an index becomes the mean of itself and its neighbors."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Vectors
from pipeline.data.joins import EmbeddedSplit
from pipeline.errors import UserError
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.exact_search import average_with_nearest
from pipeline.index.postprocessing import Postprocessing
from pipeline.workers import HERE, Workers

# All pairs are compared: 100,000 images of 128 dimensions take about a minute on two cores.
MOST = 200_000


def vectors_to_index(
    done: Postprocessing, images: EmbeddedSplit, *, workers: Workers = HERE
) -> Vectors:
    """Return float32 [N, d], the images as an index has them.

    With database augmentation the gallery's images are averaged with others of the gallery, and the
    rest with others of their split: what is measured on test must not depend on other images.

    images: with mapped vectors, float32 [N, d].

    Raises:
        UserError: they are too many to be augmented.
    """
    kinds = np.where(images.is_gallery, "gallery", images.split.astype(str))
    return augment(done, images.vectors, kinds, workers=workers)


def augment(
    done: Postprocessing,
    vectors: Vectors,
    kinds: NDArray[np.str_],
    *,
    workers: Workers = HERE,
) -> Vectors:
    """Return float32 [N, d]: each image averaged with its neighbors of the same kind."""
    count = done.database_augmentation
    if not count:
        return vectors
    if len(vectors) > MOST:
        raise UserError(
            f"postprocess: found database_augmentation {count} with {len(vectors):,} images, of "
            f"which all pairs would be compared; allowed: 0, or at most {MOST:,} images"
        )
    augmented = np.empty(vectors.shape, np.float32)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        own = prepare_vectors(vectors[rows], distance=done.distance)
        scorer = GalleryScorer(own, distance=done.distance)
        augmented[rows] = average_with_nearest(
            own, scorer, own, np.arange(len(rows)), count, workers=workers
        )
    return augmented
