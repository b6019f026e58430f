"""Which classes are confused: the class of each query beside that of its wrong top hit."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Floats, Ints, Mask, Scores
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import CONFUSIONS
from pipeline.evaluation.metrics import DECIMALS


def tabulate_confusions(
    labels: LabelSets,
    hit_labels: LabelSets,
    *,
    wrong: Mask,
    has_relevant: Mask,
    cosines: Scores,
    ids: NDArray[np.object_],
    hit_ids: NDArray[np.object_],
) -> pa.Table:
    """Return the CONFUSIONS table of Q queries, the most frequent pair of classes first.

    A query with a wrong top hit counts once for the pair (its class, the hit's class). If images
    have several labels, the query shares none with the hit, and counts 1 / (n m) for each of the
    n m pairs of its n labels and the hit's m. `share` is the share of the queries with the label.
    The example of a pair is the query with the highest cosine to its hit.

    labels, hit_labels: of the queries and of their top hits, [Q]. wrong: bool [Q], whether the top
    hit is. has_relevant: bool [Q]; a query without a relevant image is not counted.
    """
    queries, pairs, weights = _pair_labels(labels, hit_labels, np.flatnonzero(wrong))
    distinct, pair_of = np.unique(pairs, axis=0, return_inverse=True)
    pair_of = pair_of.reshape(-1)
    counts = np.bincount(pair_of, weights, minlength=len(distinct))
    # Sorted by pair and then by falling cosine, the first of each pair is its example.
    by_cosine = np.lexsort((queries, -cosines[queries], pair_of))
    first = by_cosine[np.searchsorted(pair_of[by_cosine], np.arange(len(distinct)))]
    # Rounded before sorting, so that three thirds equal one whole.
    order = np.lexsort((distinct[:, 1], distinct[:, 0], -counts.round(DECIMALS)))
    distinct, counts, examples = distinct[order], counts[order], queries[first[order]]
    totals = labels.count(has_relevant)[distinct[:, 0]]
    columns = {
        "label": pa.array(distinct[:, 0], pa.int32()),
        "other": pa.array(distinct[:, 1], pa.int32()),
        "queries": pa.array(counts.round(DECIMALS), pa.float64()),
        "share": pa.array((counts / totals).round(DECIMALS), pa.float64()),
        "image_id": pa.array(ids[examples], pa.string()),
        "top_hit": pa.array(hit_ids[examples], pa.string()),
    }
    return pa.table(columns, schema=pa.schema(CONFUSIONS.columns))


def _pair_labels(labels: LabelSets, hit_labels: LabelSets, rows: Ints) -> tuple[Ints, Ints, Floats]:
    """Return, for each pair of labels at `rows`, its row, both labels [P, 2] and its weight."""
    sizes, hit_sizes = np.diff(labels.starts)[rows], np.diff(hit_labels.starts)[rows]
    counts = sizes * hit_sizes
    places = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    queries, width = rows[places], hit_sizes[places]
    pairs = np.stack(
        [
            labels.values[labels.starts[queries] + within // width],
            hit_labels.values[hit_labels.starts[queries] + within % width],
        ],
        axis=1,
    ).astype(np.int64)
    return queries, pairs, 1 / counts[places]
