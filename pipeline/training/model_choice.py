"""Whether training made the model better: the choice between it and the baseline, on validation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import permutation_test

from pipeline.data.arrays import Floats, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.clusters import Clusters, cluster_by_label_sets, cluster_by_unit
from pipeline.evaluation.measure import measure
from pipeline.splitting.left_out import FEWEST_VAL_QUERIES
from pipeline.training.training_data import Validation

# How often chance alone may give the gain: as often as it is beyond one end of a 95% interval.
ALPHA = 0.025
RESAMPLES = 9999
# Of fewer, all gain by chance more often than that: five with a chance of 2^-5.
FEWEST_CLASSES = 6


@dataclass(frozen=True)
class ModelChoice:
    """What both models score on validation, and whether the difference is more than chance.

    queries: those with a relevant image. units: what was resampled: their classes if by_class, else
    the queries. baseline, finetuned: (mean average precision, recall at 1). p: how often chance
    alone gives such a gain in mean average precision.
    """

    queries: int
    units: int
    by_class: bool
    baseline: tuple[float, float]
    finetuned: tuple[float, float]
    p: float

    @property
    def use(self) -> Literal["baseline", "finetuned"]:
        """The model to search with: the fine-tuned one where it is clearly better."""
        better = self.p <= ALPHA and self.finetuned[1] >= self.baseline[1]
        return "finetuned" if better and not self._too_few else "baseline"

    @property
    def _too_few(self) -> bool:
        return self.queries < FEWEST_VAL_QUERIES or self.units < FEWEST_CLASSES

    def describe(self) -> str:
        """Return why, in one line."""
        of = f"{self.queries} validation queries" + (
            f" of {self.units} classes" if self.by_class else ""
        )
        (before, first_before), (after, first_after) = self.baseline, self.finetuned
        found = (
            f"map {after:.3f}, the baseline {before:.3f}; recall@1 {first_after:.3f}, the "
            f"baseline {first_before:.3f}; {of}"
        )
        if self.use == "finetuned":
            return f"training made it better: {found}"
        if after <= before:
            return f"training made it no better: {found}"
        if self._too_few:
            return f"too few to tell whether training made it better: {found}"
        if self.p <= ALPHA:
            return f"training made the first result worse: {found}"
        return f"the gain of training may be chance: {found}"


def choose_model(
    baseline: Vectors, finetuned: Vectors, val: Validation, *, distance: str, seed: int
) -> ModelChoice:
    """Return the choice by the average precision of each validation query with both models.

    Whether the gain is more than chance, the randomization test of paired differences tells
    (Smucker, Allan and Carterette 2007): how often their sum is as large with random signs. Whole
    classes get a sign, because queries of a class are correlated; single queries only where the
    model has seen these classes and they are too few. Unlike an interval by resampling, it can tell
    from six classes that all gain, though one gains much more than the others.

    baseline, finetuned: float32 [V, D], the embeddings of the V validation images, made alike.
    """
    before, after = (_measure(each, val, distance) for each in (baseline, finetuned))
    kept = ~np.isnan(before[:, 0])
    before, after = before[kept], after[kept]
    labels = val.labels.take(np.flatnonzero(val.is_query)[kept])
    clusters, by_class = _cluster(labels, new_classes=val.new_classes)
    gains = clusters.divide_among_units(clusters.sum_by_set((after - before)[:, :1]))[:, 0]
    means = [tuple(each.mean(axis=0).tolist()) for each in (before, after)]
    p = _test_by_signs(gains, seed)
    return ModelChoice(len(before), clusters.unit_count, by_class, means[0], means[1], p)


def _measure(vectors: Vectors, val: Validation, distance: str) -> Floats:
    """Return float64 [Q, 2]: average precision and recall at 1, NaN without a relevant image."""
    measured = measure(vectors, val.labels, val.is_query, val.is_gallery, k=(1,), distance=distance)
    columns = [measured.per_query[name] for name in ("average_precision", "recall_at_1")]
    return np.stack(columns, axis=1).astype(np.float64)


def _cluster(labels: LabelSets, *, new_classes: bool) -> tuple[Clusters, bool]:
    """Return the units of queries with these labels, and whether they are classes."""
    by_class = new_classes or len(np.unique(labels.values)) >= FEWEST_CLASSES
    if by_class:
        return cluster_by_label_sets(labels), True
    return cluster_by_unit(np.arange(len(labels))), False


def _test_by_signs(gains: Floats, seed: int) -> float:
    """Return the share of random signs of `gains`, float64 [U], whose sum is as large as theirs."""
    test = permutation_test(
        (gains,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
