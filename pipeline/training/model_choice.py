"""Whether training made the model better: the choice between it and the baseline, on validation."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Vectors
from pipeline.evaluation.measure import measure
from pipeline.training.training_data import Validation

# A difference of this many standard errors is seldom chance.
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class ModelChoice:
    """The mean average precision of both models on validation, and the difference of the queries.

    difference: finetuned less baseline. error: its standard error; inf for one query.
    """

    queries: int
    baseline: float
    finetuned: float
    difference: float
    error: float

    @property
    def use(self) -> str:
        """The model to search with: the fine-tuned one where it is clearly better."""
        better = self.difference > STANDARD_ERRORS * self.error
        return "finetuned" if better and self.difference > 0 else "baseline"

    def describe(self) -> str:
        """Return why, in one line."""
        found = f"map {self.finetuned:.3f} on validation, the baseline {self.baseline:.3f}"
        if self.use == "finetuned":
            return f"training made it better: {found}"
        if self.difference > 0:
            return (
                f"the fine-tuned model is not clearly better: {found}, but {self.queries} queries "
                f"are too few to tell (standard error {self.error:.3f})"
            )
        return f"training made it no better: {found}"


def choose_model(
    baseline: Vectors, finetuned: Vectors, val: Validation, *, distance: str
) -> ModelChoice:
    """Return the choice by the average precision of each validation query with both models.

    baseline, finetuned: float32 [V, D], the embeddings of the V validation images.
    """
    before, after = (_average_precision(each, val, distance) for each in (baseline, finetuned))
    differences = after - before
    count = len(differences)
    error = float(differences.std(ddof=1) / np.sqrt(count)) if count > 1 else float("inf")
    return ModelChoice(
        count, float(before.mean()), float(after.mean()), float(differences.mean()), error
    )


def _average_precision(vectors: Vectors, val: Validation, distance: str) -> Floats:
    """Return float64 [Q], of the queries that have a relevant image."""
    measured = measure(vectors, val.labels, val.is_query, val.is_gallery, k=(1,), distance=distance)
    values = measured.per_query["average_precision"]
    return values[~np.isnan(values)]
