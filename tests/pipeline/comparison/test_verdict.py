"""The verdict by the differences and p-values of the metrics."""

import pandas as pd
import pytest

from pipeline.comparison.verdict import Verdict, judge

SIGNIFICANT, NOT_SIGNIFICANT = 0.01, 0.06


def make_metrics(**rows: tuple[float, float | None]) -> pd.DataFrame:
    return pd.DataFrame(
        [(metric, -1.0, *row) for metric, row in rows.items()],
        columns=["metric", "low", "difference", "p_holm"],
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (
            {"map": (0.1, SIGNIFICANT), "mrr": (-0.1, NOT_SIGNIFICANT)},
            Verdict("better", ["map"], []),
        ),
        ({"map": (-0.1, 0.05), "mrr": (-0.1, SIGNIFICANT)}, Verdict("worse", [], ["map", "mrr"])),
        ({"map": (0.1, NOT_SIGNIFICANT), "mrr": (0.1, 1)}, Verdict("no difference", [], [])),
        (
            {"map": (0.1, SIGNIFICANT), "mrr": (-0.1, SIGNIFICANT)},
            Verdict("better", ["map"], ["mrr"]),
        ),
        (
            {"map": (-0.1, NOT_SIGNIFICANT), "mrr": (0.1, SIGNIFICANT)},
            Verdict("partly better", ["mrr"], []),
        ),
        (
            {"map": (0.1, NOT_SIGNIFICANT), "mrr": (-0.1, SIGNIFICANT)},
            Verdict("partly worse", [], ["mrr"]),
        ),
        (
            {"map": (0.1, 1), "mrr": (-0.1, SIGNIFICANT), "r_precision": (0.1, SIGNIFICANT)},
            Verdict("mixed", ["r_precision"], ["mrr"]),
        ),
        ({"map": (0.1, 1), "cosine_positive": (0.1, None)}, Verdict("no difference", [], [])),
    ],
)
def test_the_main_metric_decides_and_a_change_of_others_alone_is_partly_or_mixed(
    rows: dict[str, tuple[float, float | None]], verdict: Verdict
) -> None:
    assert judge(make_metrics(**rows)) == verdict


def test_an_infinite_interval_of_the_main_metric_is_inconclusive() -> None:
    metrics = make_metrics(map=(0.1, 1), mrr=(0.1, SIGNIFICANT)).assign(low=[-float("inf"), 0.05])
    assert judge(metrics) == Verdict("inconclusive", [], [])
