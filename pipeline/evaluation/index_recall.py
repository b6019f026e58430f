"""What an index finds of the exact ranking of the gallery, and what it costs."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.evaluation.retrieval_task import Searched, prepare_task
from pipeline.index.build import INDEX_FILE, check_index, read_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.relevance import Relevance
from pipeline.index.search import Neighbors, index_recall, search_index

logger = logging.getLogger(__name__)


def search_gallery(
    directory: Path,
    images: EmbeddedSplit,
    labels: LabelSets,
    relevance: Relevance,
    metrics: RetrievalMetrics,
    *,
    k: Sequence[int],
    kept: int,
    distance: str,
    searched: Searched,
) -> tuple[RetrievalMetrics, Neighbors]:
    """Return `metrics` with the index's recall, and the neighbors that the index finds.

    directory: of the index. images: with vectors as queries have them. kept: neighbors to return,
    or as many as there are. searched: as of `prepare_task`.

    Raises:
        UserError: as `read_index` and `check_index`.
    """
    index, ids = read_index(directory)
    check_index(directory, index, ids, images, distance=distance)
    indexed = images.vectors if searched.indexed is None else searched.indexed
    vectors = prepare_vectors(indexed, distance=distance)
    if searched.query_expansion:
        queries = prepare_task(
            *(images.vectors, labels, images.is_query, images.is_gallery, relevance),
            distance=distance,
            searched=searched,
        ).queries
    else:
        queries = prepare_vectors(images.vectors[images.is_query], distance=distance)
    kept = min(kept, metrics.max_k)
    started = time.perf_counter()
    found = search_index(
        *(index, vectors, queries, np.flatnonzero(images.is_query), max(kept, *k)),
        allowed=images.is_gallery,
        distance=distance,
    )
    seconds = (time.perf_counter() - started) / len(found.rows)
    gallery_row = np.cumsum(images.is_gallery) - 1
    rows = np.where(found.rows < 0, -1, gallery_row[found.rows])
    gallery = vectors[images.is_gallery]
    # Also for a flat index, where it is 1: experiments with and without the column could not be
    # compared, and a lower value shows an index that does not belong to these embeddings.
    recalls = {
        f"index_recall_at_{each}": index_recall(
            rows, metrics.nearest, each, gallery=gallery, queries=queries, distance=distance
        )
        for each in sorted(set(k))
    }
    logger.info(
        "index: recall %s; %.1f ms a query, %.0f bytes a vector",
        ", ".join(f"{recalls[f'index_recall_at_{each}'].mean():.3f} at {each}" for each in k),
        1000 * seconds,
        (directory / INDEX_FILE).stat().st_size / index.ntotal,
    )
    return metrics.with_columns(recalls), Neighbors(rows[:, :kept], found.scores[:, :kept])
