"""Whether training made the model better: the choice between it and the baseline, on validation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.data.arrays import Vectors
from pipeline.evaluation.measure import measure
from pipeline.evaluation.paired_gain import ALPHA, PairedGain, find_gain
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.training.training_data import Validation


@dataclass(frozen=True)
class ModelChoice:
    """What training changed of the retrieval of validation images."""

    gain: PairedGain

    @property
    def use(self) -> Literal["baseline", "finetuned"]:
        """The model to search with: the fine-tuned one where it is clearly better."""
        return "finetuned" if self.gain.is_clear else "baseline"

    def describe(self) -> str:
        """Return why, in one line."""
        gain = self.gain
        of = f"{gain.queries} validation queries" + (
            f" of {gain.units} classes" if gain.by_class else ""
        )
        (before, first_before), (after, first_after) = gain.before, gain.after
        found = (
            f"map {after:.3f}, the baseline {before:.3f}; recall@1 {first_after:.3f}, the "
            f"baseline {first_before:.3f}; {of}"
        )
        if gain.is_clear:
            return f"training made it better: {found}"
        if after <= before:
            return f"training made it no better: {found}"
        if gain.too_few:
            return f"too few to tell whether training made it better: {found}"
        if gain.p <= ALPHA:
            return f"training made the first result worse: {found}"
        return f"the gain of training may be chance: {found}"


def choose_model(
    baseline: Vectors, finetuned: Vectors, val: Validation, *, distance: str, seed: int
) -> ModelChoice:
    """Return the choice by the average precision of each validation query with both models.

    baseline, finetuned: float32 [V, D], the embeddings of the V validation images, made alike.
    """
    before, after = (_measure(each, val, distance) for each in (baseline, finetuned))
    labels = val.labels.take(np.flatnonzero(val.is_query))
    return ModelChoice(find_gain(before, after, labels, new_classes=val.new_classes, seed=seed))


def _measure(vectors: Vectors, val: Validation, distance: str) -> RetrievalMetrics:
    return measure(vectors, val.labels, val.is_query, val.is_gallery, k=(1,), distance=distance)
