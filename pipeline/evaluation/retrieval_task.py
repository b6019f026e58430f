"""A retrieval task: queries and a gallery, prepared to be scored block by block."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Mask, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.distances import GalleryScorer, check_vectors, prepare_checked
from pipeline.index.relevance import Relevance


@dataclass(frozen=True)
class RetrievalTask:
    """Q queries and G gallery images of N embedded images. Threads share it and only read it.

    queries: float32 [Q, D], gallery: float32 [G, D], both prepared for `distance`.
    """

    distance: str
    queries: Vectors
    gallery: Vectors
    query_labels: LabelSets
    gallery_labels: LabelSets
    relevance: Relevance
    scorer: GalleryScorer

    def score(self, start: int, stop: int) -> Scores:
        """Return float32 [stop - start, G], the scores of the queries `start:stop`."""
        return self.scorer.score(self.queries[start:stop])


def prepare_task(
    embeddings: Vectors,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    relevance: Relevance,
    *,
    distance: str,
) -> RetrievalTask:
    """Return the task of N images: float32 [N, D], their labels, bool [N] and their relevance.

    Raises:
        UserError: the embeddings are not finite.
    """
    check_vectors(embeddings, distance=distance)
    gallery = prepare_checked(embeddings[is_gallery], distance=distance)
    return RetrievalTask(
        distance=distance,
        queries=prepare_checked(embeddings[is_query], distance=distance),
        gallery=gallery,
        query_labels=labels.take(np.flatnonzero(is_query)),
        gallery_labels=labels.take(np.flatnonzero(is_gallery)),
        relevance=relevance,
        scorer=GalleryScorer(gallery, distance=distance),
    )
