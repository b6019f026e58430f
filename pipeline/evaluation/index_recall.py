"""What an index finds of the exact ranking of the gallery, and what it costs."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Vectors
from pipeline.data.joins import EmbeddedSplit
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.evaluation.retrieval_task import RetrievalTask
from pipeline.index.build import INDEX_FILE, check_index, read_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.reranking import TOP, rerank_places
from pipeline.index.search import Neighbors, index_recall, search_index
from pipeline.index.stored_vectors import StoredVectors

logger = logging.getLogger(__name__)


def search_gallery(
    directory: Path,
    images: EmbeddedSplit,
    task: RetrievalTask,
    metrics: RetrievalMetrics,
    *,
    indexed: Vectors,
    k: Sequence[int],
    kept: int,
) -> tuple[RetrievalMetrics, Neighbors]:
    """Return `metrics` with the index's recall, and the neighbors that the index finds.

    directory: of the index. task: of the queries and the gallery of `images`. indexed: float32
    [N, d], the images as the index has them. kept: neighbors to return, or as many as there are.

    Raises:
        UserError: as `read_index` and `check_index`.
    """
    index, ids = read_index(directory)
    check_index(directory, index, ids, images, distance=task.distance)
    vectors = prepare_vectors(indexed, distance=task.distance)
    kept = min(kept, metrics.max_k)
    count = max(kept, *k, min(TOP, metrics.max_k) if task.rerank else 0)
    started = time.perf_counter()
    found = search_index(
        *(index, vectors, task.queries, np.flatnonzero(images.is_query), count),
        allowed=images.is_gallery,
        distance=task.distance,
    )
    seconds = (time.perf_counter() - started) / len(found.rows)
    gallery_row = np.cumsum(images.is_gallery) - 1
    rows = np.where(found.rows < 0, -1, gallery_row[found.rows])
    # Also for a flat index, where it is 1: experiments with and without the column could not be
    # compared, and a lower value shows an index that does not belong to these embeddings.
    recalls = {
        f"index_recall_at_{each}": index_recall(
            *(rows, metrics.nearest, each),
            gallery=task.gallery,
            queries=task.queries,
            distance=task.distance,
        )
        for each in sorted(set(k))
    }
    logger.info(
        "index: recall %s; %.1f ms a query, %.0f bytes a vector",
        ", ".join(f"{recalls[f'index_recall_at_{each}'].mean():.3f} at {each}" for each in k),
        1000 * seconds,
        (directory / INDEX_FILE).stat().st_size / index.ntotal,
    )
    order = _order(found, task, index)[:, :kept]
    first = (np.take_along_axis(each, order, axis=1) for each in (rows, found.scores))
    return metrics.with_columns(recalls), Neighbors(*first)


def _order(found: Neighbors, task: RetrievalTask, index: faiss.Index) -> Ints:
    """Return int64 [Q, n], the places of what the index found, in the order of the ranking.

    Re-ranked by the vectors as the index has them, as `query` does.
    """
    if not task.rerank:
        return np.tile(np.arange(found.rows.shape[1]), (len(found.rows), 1))
    rows, back = np.unique(found.rows[found.rows >= 0], return_inverse=True)
    among = np.full_like(found.rows, -1)
    among[found.rows >= 0] = back
    return rerank_places(among, task.queries, StoredVectors(index).read(rows), task.rerank)
