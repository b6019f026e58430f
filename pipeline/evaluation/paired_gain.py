"""Whether other embeddings of the same images are retrieved better, or only by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Mask
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.clusters import Clusters, cluster_by_label_sets, cluster_by_unit
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.splitting.left_out import FEWEST_VAL_QUERIES

# How often chance alone may give the gain: as often as it is beyond one end of a 95% interval.
ALPHA = 0.025
RESAMPLES = 9999
ROUNDING = 1e-9
# Of fewer, all gain by chance more often than that: five with a chance of 2^-5.
FEWEST_CLASSES = 6


@dataclass(frozen=True)
class PairedGain:
    """What queries score before and after a change, and whether the difference is more than chance.

    queries: those with a relevant image. units: what was resampled: their classes if by_class, else
    the queries. before, after: (mean average precision, recall at 1). p: how often chance alone
    gives such a gain in mean average precision.
    """

    queries: int
    units: int
    by_class: bool
    before: tuple[float, float]
    after: tuple[float, float]
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether it is better beyond chance, and its first results are no worse."""
        return self.p <= ALPHA and self.after[1] >= self.before[1] and not self.too_few

    @property
    def too_few(self) -> bool:
        """Whether these queries cannot tell."""
        return self.queries < FEWEST_VAL_QUERIES or self.units < FEWEST_CLASSES


def find_gain(
    before: RetrievalMetrics,
    after: RetrievalMetrics,
    labels: LabelSets,
    *,
    new_classes: bool,
    seed: int,
    others: Sequence[RetrievalMetrics] = (),
) -> PairedGain:
    """Return the gain in average precision of each query, measured with k 1.

    Whether it is more than chance, the randomization test of paired differences tells (Smucker,
    Allan and Carterette 2007): how often their sum is as large with random signs. Whole classes get
    a sign, because queries of a class are correlated; single queries only where the model has seen
    these classes and they are too few. Unlike an interval by resampling, it can tell from six
    classes that all gain, though one gains much more than the others.

    labels: of the queries. new_classes: whether the model has seen none of them. others: what
    `after` was chosen among; then the largest sum of all of them, with the same signs, is compared
    (Westfall and Young 1993), as the best of many is more often better by chance than one alone.
    """
    columns = ("average_precision", "recall_at_1")
    values = [np.stack([each.per_query[name] for name in columns], 1) for each in (before, after)]
    kept: Mask = ~np.isnan(values[0][:, 0])
    old, new = (each[kept].astype(np.float64) for each in values)
    clusters, by_class = _cluster(labels.take(np.flatnonzero(kept)), new_classes=new_classes)
    tried = [each.per_query["average_precision"][kept] for each in (after, *others)]
    gains = np.stack(tried, axis=1) - old[:, :1]  # (Q, tried), the first is `after`
    of_units = clusters.divide_among_units(clusters.sum_by_set(gains))
    means = [tuple(each.mean(axis=0).tolist()) for each in (old, new)]
    p = _test_by_signs(of_units, seed)
    return PairedGain(len(old), clusters.unit_count, by_class, means[0], means[1], p)


def _cluster(labels: LabelSets, *, new_classes: bool) -> tuple[Clusters, bool]:
    """Return the units of queries with these labels, and whether they are classes."""
    by_class = new_classes or len(np.unique(labels.values)) >= FEWEST_CLASSES
    if by_class:
        return cluster_by_label_sets(labels), True
    return cluster_by_unit(np.arange(len(labels))), False


def _test_by_signs(gains: Floats, seed: int) -> float:
    """Return the share of random signs of the rows of `gains`, float64 [U, T], with which the
    largest of the T sums is as large as the first is without; of all signs, where they are few.

    Each sum is over the root of its sum of squares, which signs do not change: else a change that
    makes much worse would count for as much as one that makes much better.
    """
    units = len(gains)
    lengths = np.linalg.norm(gains, axis=0)
    gains = gains / np.where(lengths > 0, lengths, 1)
    if 2**units <= RESAMPLES:
        signs = 1 - 2 * (np.arange(2**units)[:, None] >> np.arange(units) & 1)
    else:
        rng = np.random.default_rng(seed)
        # The signs that were observed are one of the possible.
        signs = np.vstack([np.ones(units, int), rng.choice([-1, 1], size=(RESAMPLES, units))])
    largest = (signs @ gains).max(axis=1)
    observed = gains[:, 0].sum()
    # Two sums of the same numbers may differ in their last bits.
    return float((largest >= observed - ROUNDING).mean())
