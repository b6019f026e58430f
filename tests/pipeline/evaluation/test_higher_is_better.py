"""Which metrics count for a verdict."""

import pytest

from pipeline.evaluation.higher_is_better import higher_is_better


@pytest.mark.parametrize("metric", ["map", "recall_at_1", "macro_map", "knn_accuracy"])
def test_a_higher_value_is_better_retrieval(metric: str) -> None:
    assert higher_is_better(metric)


@pytest.mark.parametrize(
    "metric", ["index_recall_at_1", "index_recall_at_10", "cosine_positive", "cosine_negative"]
)
def test_a_higher_value_is_not_better_retrieval(metric: str) -> None:
    assert not higher_is_better(metric)
