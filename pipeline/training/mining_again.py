"""Triplets that are mined again while a model trains, by what it is then."""

import logging
from functools import partial

import numpy as np

from pipeline.config.schema import Params
from pipeline.data.arrays import Ints, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.training.processes import compute_once
from pipeline.training.seeds import epoch_seed

logger = logging.getLogger(__name__)


def is_due(params: Params, epoch: int) -> bool:
    """Return whether triplets are mined before the epoch of this number, from 0.

    Those before the first are the baseline's, of the stage `mine`.
    """
    refresh = params.mine.refresh if params.batches.options.mined else None
    return refresh is not None and epoch > 0 and epoch % refresh == 0


def mine_again(
    vectors: Vectors, labels: LabelSets, before: Ints, params: Params, *, epoch: int
) -> Ints:
    """Return int64 [T, 3], rows of anchor, positive and negative, by the options of `mine`.

    vectors: float32 [N, D], the N training images by the model as it is. before: the triplets until
    now, which stay where those mined are too few for a batch. Several processes get those of the
    first.
    """
    mined = compute_once(partial(_mine, vectors, labels, params, epoch))
    if too_few := params.batches.options.find_too_few(len(mined)):
        logger.warning("epoch %d: the earlier triplets stay: %s", epoch + 1, too_few[0])
        return before
    logger.info("epoch %d: %d triplets, mined by the model as it is", epoch + 1, len(mined))
    return mined


def _mine(vectors: Vectors, labels: LabelSets, params: Params, epoch: int) -> Ints:
    from pipeline.mining.by_embeddings import mine_by_embeddings  # faiss, which others do without

    mined = mine_by_embeddings(
        vectors,
        labels,
        positives=params.mine.positives,
        negatives=params.mine.negatives,
        per_anchor=params.mine.per_anchor,
        distance=params.index.distance,
        seed=epoch_seed(params, epoch),
        candidates=params.mine.candidates,
    )
    return np.stack([mined.anchors, mined.positives, mined.negatives], axis=1)
