"""One query made of several: images and texts that are wanted, and others that are not.

A query vector q ranks the gallery by its scores with g, and a sum of vectors by the sum of their
scores. Scores of texts with images vary much less than those of images with images; in a plain sum
a text would hardly count. So each part is divided by the deviation of its scores over the gallery:
the sum then adds standard scores (fusion of rankings by z-scores: Montague and Aslam, Relevance
Score Normalization for Metasearch, 2001). The unwanted are subtracted, with less weight, as in
relevance feedback (Rocchio, 1971; Manning, Raghavan and Schuetze: Introduction to Information
Retrieval, 2008, section 9.1.1).
"""

import numpy as np

from pipeline.data.arrays import Floats, Vectors
from pipeline.errors import UserError

# Of the mean of the unwanted parts, beside that of the wanted ones.
UNWANTED_WEIGHT = 0.5
# Images of the gallery, evenly taken, that the deviation of scores is measured on.
SAMPLE = 2048


class PartsError(UserError):
    """A query of several parts that cannot be made one."""


def combine(wanted: Vectors, unwanted: Vectors, sample: Vectors) -> Vectors:
    """Return float32 [D], the direction of the query made of P wanted and Q unwanted parts.

    wanted: float32 [P, D], P at least 1. unwanted: float32 [Q, D]. sample: float32 [n, D], of the
    gallery. All in the space in which the gallery is searched; their lengths do not count. One
    wanted part alone is returned as it is.

    Raises:
        PartsError: the parts cancel out, so that nothing is nearer than anything else.
    """
    if len(wanted) == 1 and not len(unwanted):
        alone: Vectors = wanted[0]
        return alone
    gallery = _to_unit(sample)
    query = _standardize(wanted, gallery).mean(axis=0)
    if len(unwanted):
        query -= UNWANTED_WEIGHT * _standardize(unwanted, gallery).mean(axis=0)
    length = float(np.linalg.norm(query))
    if not length > 1e-6 * float(np.abs(query).sum() + 1):
        raise PartsError("the query: its parts cancel out; allowed: parts that differ")
    combined: Vectors = (query / length).astype(np.float32)
    return combined


def _standardize(parts: Vectors, gallery: Floats) -> Floats:
    """Return float64 [P, D], whose scores with the gallery have deviation 1."""
    directions = _to_unit(parts)
    deviations = (directions @ gallery.T).std(axis=1)
    # Where all images score alike, as where there is one, any scale does.
    scaled: Floats = directions / np.where(deviations > 0, deviations, 1)[:, None]
    return scaled


def _to_unit(vectors: Vectors) -> Floats:
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit: Floats = exact / np.where(lengths > 0, lengths, 1)
    return unit
