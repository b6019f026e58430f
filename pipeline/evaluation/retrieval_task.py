"""A retrieval task: queries and a gallery, prepared to be scored block by block."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Mask, Scores, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.index.distances import GalleryScorer, check_vectors, prepare_checked
from pipeline.index.exact_search import average_with_nearest
from pipeline.index.relevance import Relevance
from pipeline.index.reranking import rerank_scores


@dataclass(frozen=True)
class Searched:
    """How embeddings are searched, where other images have a part in it.

    indexed: float32 [N, d], the N images as the index has them; None: as they are embedded.
    query_expansion: how many results a query is averaged with. rerank: how many neighbors of
    the first results are compared, to put them in another order; 0 leaves them as they are.
    """

    indexed: Vectors | None = None
    query_expansion: int = 0
    rerank: int = 0


AS_EMBEDDED = Searched()


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
    rerank: int = 0

    def score(self, start: int, stop: int) -> Scores:
        """Return float32 [stop - start, G], the scores of the queries `start:stop`."""
        return self.scorer.score(self.queries[start:stop])

    def rank(self, scores: Scores, start: int, stop: int) -> Scores:
        """Return float32 [stop - start, G]: the highest is the first result, and so on.

        scores: of the queries `start:stop`, which stay as they are.
        """
        if not self.rerank:
            return scores
        own_rows, queries = self.relevance.own_rows[start:stop], self.queries[start:stop]
        return rerank_scores(scores, own_rows, queries, self.gallery, self.rerank)


def prepare_task(
    embeddings: Vectors,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    relevance: Relevance,
    *,
    distance: str,
    searched: Searched = AS_EMBEDDED,
) -> RetrievalTask:
    """Return the task of N images: float32 [N, D], their labels, bool [N] and their relevance.

    Raises:
        UserError: the embeddings are not finite.
    """
    check_vectors(embeddings, distance=distance)
    indexed = embeddings if searched.indexed is None else searched.indexed
    gallery = prepare_checked(indexed[is_gallery], distance=distance)
    queries = prepare_checked(embeddings[is_query], distance=distance)
    scorer = GalleryScorer(gallery, distance=distance)
    if count := searched.query_expansion:
        queries = average_with_nearest(queries, scorer, gallery, relevance.own_rows, count)
    return RetrievalTask(
        distance=distance,
        queries=queries,
        gallery=gallery,
        query_labels=labels.take(np.flatnonzero(is_query)),
        gallery_labels=labels.take(np.flatnonzero(is_gallery)),
        relevance=relevance,
        scorer=scorer,
        rerank=searched.rerank,
    )
