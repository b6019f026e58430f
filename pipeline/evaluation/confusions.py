"""Which classes are taken for which: the class of each query beside that of its wrong top hit."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask, Scores
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import CONFUSIONS

DECIMALS = 6


def confusions_table(
    labels: LabelSets,
    hit_labels: LabelSets,
    *,
    wrong: Mask,
    asked: Mask,
    cosines: Scores,
    ids: NDArray[np.object_],
    hit_ids: NDArray[np.object_],
) -> pa.Table:
    """Return the CONFUSIONS table of Q queries, the most frequent pair of classes first.

    A query whose top hit is wrong counts once for the pair (its class, the hit's class). Where
    images have several labels it has no label in common with the hit, and counts
    1 / (n m) for each of the n m pairs of its n labels and the hit's m. `share` is of the queries
    that have the label. Each pair's example is its query with the highest cosine to its hit.

    labels, hit_labels: of queries and of their top hits, [Q]. wrong: bool [Q], whether the top hit
    is. asked: bool [Q], whether a query has a relevant image, so that it is counted at all.
    """
    queries, pairs, weights = _pair_labels(labels, hit_labels, np.flatnonzero(wrong))
    kinds, kind_of = np.unique(pairs, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    counts = np.bincount(kind_of, weights, minlength=len(kinds))
    # Sorted by kind and then by falling cosine, each kind begins with its example.
    by_cosine = np.lexsort((queries, -cosines[queries], kind_of))
    first = by_cosine[np.searchsorted(kind_of[by_cosine], np.arange(len(kinds)))]
    # Rounded before they are sorted: three thirds are as many as a whole.
    order = np.lexsort((kinds[:, 1], kinds[:, 0], -counts.round(DECIMALS)))
    kinds, counts, examples = kinds[order], counts[order], queries[first[order]]
    totals = labels.count(asked)[kinds[:, 0]]
    columns = {
        "label": pa.array(kinds[:, 0], pa.int32()),
        "other": pa.array(kinds[:, 1], pa.int32()),
        "queries": pa.array(counts.round(DECIMALS), pa.float64()),
        "share": pa.array((counts / totals).round(DECIMALS), pa.float64()),
        "image_id": pa.array(ids[examples], pa.string()),
        "top_hit": pa.array(hit_ids[examples], pa.string()),
    }
    return pa.table(columns, schema=pa.schema(CONFUSIONS.columns))


def _pair_labels(
    labels: LabelSets, hit_labels: LabelSets, rows: Ints
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Return, of each pair of labels at `rows`, its row, both labels [P, 2] and its weight."""
    own, others = np.diff(labels.starts)[rows], np.diff(hit_labels.starts)[rows]
    counts = own * others
    places = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    queries, width = rows[places], others[places]
    pairs = np.stack(
        [
            labels.values[labels.starts[queries] + within // width],
            hit_labels.values[hit_labels.starts[queries] + within % width],
        ],
        axis=1,
    ).astype(np.int64)
    return queries, pairs, 1 / counts[places]
