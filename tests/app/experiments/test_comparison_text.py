"""The words of a verdict."""

import pandas as pd
import pytest

from app.experiments.comparison_text import (
    Sides,
    advise_seeds,
    describe_judgement,
    describe_verdict,
)
from pipeline.comparison.compare import METRIC_COLUMNS, Comparison


@pytest.mark.parametrize(
    ("main", "mrr", "recall", "text"),
    [
        (0.1, 0.1, 0.1, "better: map +0.100 (+0.050 to +0.150)"),
        (0.1, 0.1, -0.1, "better: map +0.100 (+0.050 to +0.150); worse in recall_at_1"),
        (-0.1, 0.1, 0.1, "worse: map -0.100 (-0.150 to -0.050); better in mrr, recall_at_1"),
        (0, 0.1, -0.1, "mixed: map +0.000 (-0.050 to +0.050); better in mrr; worse in recall_at_1"),
        (0, 0, 0, "no difference: map +0.000 (-0.050 to +0.050)"),
    ],
)
def test_a_verdict_names_the_metrics_that_changed_otherwise(
    main: float, mrr: float, recall: float, text: str
) -> None:
    rows = [
        (name, value, value - 0.05, value + 0.05, 0.01 if value else 1)
        for name, value in (("map", main), ("mrr", mrr), ("recall_at_1", recall))
    ]
    columns = ["metric", "difference", "low", "high", "p_holm"]
    assert describe_judgement(pd.DataFrame(rows, columns=columns)) == text


def test_an_infinite_interval_is_inconclusive() -> None:
    row = ("map", 1.0, -float("inf"), float("inf"), 1.0)
    columns = ["metric", "difference", "low", "high", "p_holm"]
    assert describe_judgement(pd.DataFrame([row], columns=columns)) == (
        "inconclusive: fewer than 6 classes or queries, or one label on so many that over 50% of "
        "their pairs share a label; map +1.000 (inconclusive)"
    )


def test_of_the_same_results_no_seed_is_advised_and_nothing_is_said_of_networks() -> None:
    """As where nothing was trained, so that both models are one network."""
    row = ("map", 20, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0, 1.0)
    found = Comparison(
        metrics=pd.DataFrame([row], columns=METRIC_COLUMNS),
        unit_count=20,
        by_class=False,
        shared=20,
        only_a=0,
        only_b=0,
        has_seed_variance=False,
        identical=True,
    )
    sides: Sides = [[], []]
    assert advise_seeds(sides, found) == []
    assert describe_verdict(sides, found) == (
        "no difference: each query has the same results; map +0.000 (+0.000 to +0.000)"
    )
