"""From which score on a result is a match: "not in the catalog" is what no result reaches.

Chosen on validation for a rate of false matches, and measured on test. The rates are those of
biometric identification (ISO/IEC 19795-1): of queries without a match in the gallery, how many get
one (false_match_rate), and of queries with one, how many get none (false_non_match_rate).

The more images are searched, the more often one of another class is above a threshold. Validation
has fewer of them than the index: of m images of other classes per query, the index has N images. If
each exceeds a score with the same chance p, independently, one of N does with 1 - (1 - p)^N, the
wanted rate; then one of m does with 1 - (1 - rate)^(m / N), the share by which the threshold is
chosen. Images are not independent, and queries differ in p, but the rate comes nearer to the wanted
one: tests/pipeline/evaluation/test_match_threshold.py simulates it. One validation class alone does
not tell what others are like, so that the rate stays far too high there.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.data.arrays import Ints, Mask, Scores
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.metrics_files import MATCH_THRESHOLD
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.retrieval_task import (
    AS_EMBEDDED,
    RetrievalTask,
    Searched,
    prepare_task,
)
from pipeline.index.exact_search import average_with_best
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import find_relevance

# Of more queries, the first in `tie_order` are looked at, an order that knows nothing of classes. A
# rate of 2,000 has a standard error of 0.01 at most.
MOST_QUERIES = 2000

# With fewer, one query more or less above the threshold changes the rate by over 0.05.
LEAST_QUERIES = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BestScores:
    """Of Q queries the highest score of a relevant and of any other image; -inf for none.

    relevant, other: float32 [Q]. candidates: int64 [Q], the number of other images.
    """

    relevant: Scores
    other: Scores
    candidates: Ints


def measure_threshold(
    images: EmbeddedSplit,
    labels: LabelSets,
    *,
    rate: float,
    distance: str,
    searched: Searched = AS_EMBEDDED,
    for_val: Searched | None = None,
) -> dict[str, float]:
    """Return the threshold, the number of queries that chose it, and both its error rates on test.

    {} where validation has fewer than LEAST_QUERIES with an image of another class. The threshold
    is chosen so that of queries whose class is not in the index, about the share `rate` get a false
    match: it is the lowest score that at most 1 - (1 - rate)^(m / N) of the validation images
    exceed with an image of another class, of validation or training. m: how many of these there are
    for a query, on average; N: of all `images`. The rates on test are of the search of all images,
    those of training too, as `query` does it.

    With query expansion, a query whose class is not there is one that other classes alone expand.

    labels: of all `images`. searched: as of `prepare_task`, on test; for_val: on validation, if
    another.
    """
    val = images.split == "val"
    known = val | (images.split == "train")
    how = distance, for_val or searched
    best = _best_scores(images, labels, val, known, *how) if val.any() else None
    chosen_by = 0 if best is None else int(np.isfinite(best.other).sum())
    if best is None or chosen_by < LEAST_QUERIES:
        logger.info(
            "%s: none is chosen by %d validation queries; allowed: %d or more",
            *(MATCH_THRESHOLD, chosen_by, LEAST_QUERIES),
        )
        return {}
    threshold = _choose(best, rate=rate, searched=len(val))
    test = _best_scores(images, labels, images.is_query, np.ones_like(val), distance, searched)
    with_match = test.relevant[np.isfinite(test.relevant)]
    return {
        MATCH_THRESHOLD: threshold,
        "match_threshold_queries": chosen_by,
        "false_match_rate": round(float((test.other > threshold).mean()), DECIMALS),
        "false_non_match_rate": round(float((with_match <= threshold).mean()), DECIMALS),
    }


def _choose(best: BestScores, *, rate: float, searched: int) -> float:
    has_other = np.isfinite(best.other)
    others = np.sort(best.other[has_other])[::-1]
    share = 1 - (1 - rate) ** (best.candidates[has_other].mean() / searched)
    return _round_up(others[math.floor(share * len(others))])


def _round_up(score: float) -> float:
    # Rounded to the nearest, it could let one more image pass than was counted.
    scale = float(10**DECIMALS)
    return math.ceil(float(score) * scale) / scale


def _best_scores(
    images: EmbeddedSplit,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    distance: str,
    searched: Searched,
) -> BestScores:
    is_query = is_query & (np.cumsum(is_query) <= MOST_QUERIES)
    relevance = find_relevance(labels, is_query, is_gallery)
    task = prepare_task(
        *(images.vectors, labels, is_query, is_gallery, relevance),
        distance=distance,
        searched=replace(searched, query_expansion=0),
    )
    blocks: Sequence[BestScores] = list(
        map_query_blocks(
            partial(_of_block, task, searched.query_expansion),
            queries=len(task.queries),
            gallery=relevance.gallery_size,
        )
    )
    return BestScores(
        np.concatenate([block.relevant for block in blocks]),
        np.concatenate([block.other for block in blocks]),
        np.concatenate([block.candidates for block in blocks]),
    )


def _of_block(task: RetrievalTask, expansion: int, start: int, stop: int) -> BestScores:
    scores = task.score(start, stop)  # (q, G)
    pairs, own_rows = task.relevance.pairs(start, stop), task.relevance.own_rows[start:stop]
    places = np.repeat(np.arange(stop - start), pairs.counts), pairs.rows
    in_gallery = np.flatnonzero(own_rows >= 0)
    own = in_gallery, own_rows[in_gallery]
    with_class = _expand(task, scores, own_rows, expansion, start, stop)
    relevant = np.full(stop - start, -np.inf, np.float32)
    np.maximum.at(relevant, places[0], with_class[places])
    for hidden in (places, own):
        scores[hidden] = -np.inf
    # As of a query whose class is not there, which other classes alone expand.
    others = _expand(task, scores, own_rows, expansion, start, stop)
    for hidden in (places, own):
        others[hidden] = -np.inf
    return BestScores(relevant, others.max(axis=1), np.isfinite(others).sum(axis=1))


def _expand(
    task: RetrievalTask, scores: Scores, own_rows: Ints, count: int, start: int, stop: int
) -> Scores:
    """Return float32 [q, G], the scores of queries averaged with their `count` best of `scores`."""
    if not count:
        return scores.copy()
    queries = average_with_best(
        *(task.queries[start:stop], task.gallery, scores, own_rows, count), distance=task.distance
    )
    return task.scorer.score(queries)
