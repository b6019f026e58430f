"""The tables of one model that hold a row for each query, and for each of its neighbors."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ids, Ints, Mask
from pipeline.data.tables import NEIGHBORS
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.index.relevance import Relevance
from pipeline.index.search import Neighbors

ROWS_AT_ONCE = 1024


def tabulate_queries(metrics: RetrievalMetrics, ids: Ids) -> pa.Table:
    """Return the QUERIES table of the queries `ids`; a metric that is undefined is null."""
    first = pa.array(metrics.first_hit_rank, from_pandas=True).cast(pa.int32())
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(ids, pa.string()),
        "positives": pa.array(metrics.positives, pa.int32()),
        "first_hit_rank": first,
    }
    for name, values in metrics.per_query.items():
        columns[name] = pa.array(values, pa.float64(), from_pandas=True)
    return pa.table(columns)


def tabulate_neighbors(
    neighbors: Neighbors,
    relevance: Relevance,
    query_ids: NDArray[np.object_],
    gallery_ids: NDArray[np.object_],
) -> pa.Table:
    """Return the NEIGHBORS table: the neighbors of each query, by rank from 1."""
    exists = neighbors.rows >= 0  # an index may find fewer; those it finds come first
    queries, places = np.nonzero(exists)
    columns = {
        "query": pa.array(query_ids[queries], pa.string()),
        "rank": pa.array(places + 1, pa.int32()),
        "image_id": pa.array(gallery_ids[neighbors.rows[exists]], pa.string()),
        "score": pa.array(neighbors.scores[exists], pa.float32()),
        "relevant": pa.array(_are_relevant(neighbors.rows, relevance)[exists]),
    }
    return pa.table(columns, schema=pa.schema(NEIGHBORS.columns))


def _are_relevant(rows: Ints, relevance: Relevance) -> Mask:
    """Return bool [Q, n]: whether each gallery row of int64 [Q, n] is relevant to its query."""
    relevant = np.zeros(rows.shape, dtype=bool)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(rows))
        pairs = relevance.pairs(start, stop)
        # A pair (query, row) as one number, so that np.isin compares pairs.
        size = relevance.gallery_size + 1
        query_of = np.repeat(np.arange(stop - start), pairs.counts)
        found_pairs = np.arange(stop - start)[:, None] * size + rows[start:stop]
        relevant[start:stop] = np.isin(found_pairs, query_of * size + pairs.rows)
    return relevant & (rows >= 0)
