"""From which score on a result is a match: "not in the catalog" is what no result reaches.

Chosen on validation for a rate of false matches, and measured on test. The rates are those of
biometric identification (ISO/IEC 19795-1): of queries without a match in the gallery, how many get
one (false_match_rate), and of queries with one, how many get none (false_non_match_rate).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Mask, Scores
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.metrics_files import MATCH_THRESHOLD
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.retrieval_task import RetrievalTask, prepare_task
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import find_relevance

# Of more queries, the first in `tie_order` are looked at, an order that knows nothing of classes. A
# rate of 2,000 has a standard error of 0.01 at most.
MOST_QUERIES = 2000


@dataclass(frozen=True)
class BestScores:
    """Of Q queries the highest score of a relevant and of any other image; -inf for none.

    relevant, other: float32 [Q].
    """

    relevant: Scores
    other: Scores


def measure_threshold(
    images: EmbeddedSplit, labels: LabelSets, *, rate: float, distance: str
) -> dict[str, float]:
    """Return the threshold and both its error rates on test; {} without a validation to choose by.

    The threshold is the lowest score that at most the share `rate` of the validation images exceed
    with an image of another class, of validation or training. So a query as those, but whose class
    is not there, gets a false match that often. The more images are searched, the more often. The
    rates on test are of the search of all images, those of training too, as `query` does it.

    labels: of all `images`.
    """
    val = images.split == "val"
    known = val | (images.split == "train")
    if not val.any():
        return {}
    others = _best_scores(images, labels, val, known, distance).other
    others = others[np.isfinite(others)]
    if not len(others):
        return {}
    threshold = _round_up(np.sort(others)[::-1][math.floor(rate * len(others))])
    everything = np.ones_like(val)
    test = _best_scores(images, labels, images.is_query, everything, distance)
    with_match = test.relevant[np.isfinite(test.relevant)]
    return {
        MATCH_THRESHOLD: threshold,
        "false_match_rate": round(float((test.other > threshold).mean()), DECIMALS),
        "false_non_match_rate": round(float((with_match <= threshold).mean()), DECIMALS),
    }


def _round_up(score: float) -> float:
    # Rounded to the nearest, it could let one more image pass than was counted.
    scale = float(10**DECIMALS)
    return math.ceil(float(score) * scale) / scale


def _best_scores(
    images: EmbeddedSplit, labels: LabelSets, is_query: Mask, is_gallery: Mask, distance: str
) -> BestScores:
    is_query = is_query & (np.cumsum(is_query) <= MOST_QUERIES)
    relevance = find_relevance(labels, is_query, is_gallery)
    task = prepare_task(images.vectors, labels, is_query, is_gallery, relevance, distance=distance)
    blocks: Sequence[BestScores] = list(
        map_query_blocks(
            lambda start, stop: _of_block(task, start, stop),
            queries=len(task.queries),
            gallery=relevance.gallery_size,
        )
    )
    return BestScores(
        np.concatenate([block.relevant for block in blocks]),
        np.concatenate([block.other for block in blocks]),
    )


def _of_block(task: RetrievalTask, start: int, stop: int) -> BestScores:
    scores = task.score(start, stop)  # (q, G)
    pairs, own_rows = task.relevance.pairs(start, stop), task.relevance.own_rows[start:stop]
    queries = np.repeat(np.arange(stop - start), pairs.counts)
    relevant = np.full(stop - start, -np.inf, np.float32)
    np.maximum.at(relevant, queries, scores[queries, pairs.rows])
    scores[queries, pairs.rows] = -np.inf
    in_gallery = np.flatnonzero(own_rows >= 0)
    scores[in_gallery, own_rows[in_gallery]] = -np.inf
    return BestScores(relevant, scores.max(axis=1))
