"""The fine-tuned model is taken where it is clearly better than the baseline on validation."""

import numpy as np
import pytest

from pipeline.data.label_sets import from_lists
from pipeline.evaluation.measure import measure
from pipeline.training.model_choice import ModelChoice, choose_model
from pipeline.training.training_data import Validation


def validation(classes: int, each: int) -> Validation:
    labels = from_lists([[c] for c in range(classes) for _ in range(each)])
    every = np.ones(classes * each, dtype=bool)
    return Validation([str(n) for n in range(classes * each)], labels, every, every)


def embed(val: Validation, *, noise: float, seed: int = 0) -> np.ndarray:
    """Return vectors that lie about a center for each class."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(size=(50, 8))[val.labels.first()]
    return (centers + noise * rng.normal(size=centers.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("before", "after", "use"), [(2.0, 0.5, "finetuned"), (0.5, 2.0, "baseline")]
)
def test_the_better_one_is_taken(before: float, after: float, use: str) -> None:
    val = validation(10, 6)
    choice = choose_model(embed(val, noise=before), embed(val, noise=after), val, distance="cosine")
    assert (choice.use, choice.queries) == (use, 60)
    assert choice.difference == pytest.approx(choice.finetuned - choice.baseline)


def test_the_same_vectors_are_no_better() -> None:
    val = validation(5, 4)
    same = embed(val, noise=1.0)
    choice = choose_model(same, same, val, distance="cosine")
    assert (choice.use, choice.difference) == ("baseline", 0)
    assert choice.describe() == (
        f"training made it no better: map {choice.finetuned:.3f} on validation, the baseline "
        f"{choice.baseline:.3f}"
    )


def test_a_gain_of_few_queries_is_not_enough() -> None:
    choice = ModelChoice(queries=6, baseline=0.7, finetuned=0.8, difference=0.1, error=0.08)
    assert choice.use == "baseline"
    assert choice.describe() == (
        "the fine-tuned model is not clearly better: map 0.800 on validation, the baseline 0.700, "
        "but 6 queries are too few to tell (standard error 0.080)"
    )
    clear = ModelChoice(queries=60, baseline=0.7, finetuned=0.8, difference=0.1, error=0.02)
    assert clear.use == "finetuned"
    assert clear.describe() == (
        "training made it better: map 0.800 on validation, the baseline 0.700"
    )


def test_the_error_is_that_of_the_mean_of_paired_differences() -> None:
    val = validation(10, 6)
    before, after = embed(val, noise=1.5), embed(val, noise=1.0)
    choice = choose_model(before, after, val, distance="euclidean")
    precisions = [
        measure(each, val.labels, val.is_query, val.is_gallery, k=(1,), distance="euclidean")
        .per_query["average_precision"]
        for each in (before, after)
    ]  # fmt: skip
    differences = precisions[1] - precisions[0]
    expected = np.sqrt(np.square(differences - differences.mean()).sum() / (59 * 60))
    assert choice.error == pytest.approx(expected)
