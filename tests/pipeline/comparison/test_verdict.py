"""The four words, by the figures that they stand on."""

import pandas as pd
import pytest

from pipeline.comparison.verdict import Verdict, judge

SURE, UNSURE = 0.01, 0.06


def figures(**rows: tuple[float, float | None]) -> pd.DataFrame:
    return pd.DataFrame(
        [(metric, -1.0, *row) for metric, row in rows.items()],
        columns=["metric", "low", "difference", "p_holm"],
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ({"map": (0.1, SURE), "mrr": (-0.1, UNSURE)}, Verdict("better", ["map"], [])),
        ({"map": (-0.1, 0.05), "mrr": (-0.1, SURE)}, Verdict("worse", [], ["map", "mrr"])),
        ({"map": (0.1, UNSURE), "mrr": (0.1, 1)}, Verdict("no difference", [], [])),
        ({"map": (0.1, SURE), "mrr": (-0.1, SURE)}, Verdict("better", ["map"], ["mrr"])),
        ({"map": (0.1, UNSURE), "mrr": (0.1, SURE)}, Verdict("mixed", ["mrr"], [])),
        ({"map": (0.1, 1), "cosine_positive": (0.1, None)}, Verdict("no difference", [], [])),
    ],
)
def test_the_main_metric_decides_and_others_alone_are_mixed(
    rows: dict[str, tuple[float, float | None]], verdict: Verdict
) -> None:
    assert judge(figures(**rows)) == verdict


def test_an_interval_that_holds_everything_tells_nothing() -> None:
    told = figures(map=(0.1, 1), mrr=(0.1, SURE)).assign(low=[-float("inf"), 0.05])
    assert judge(told) == Verdict("inconclusive", [], [])
