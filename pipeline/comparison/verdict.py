"""The verdict of a comparison: better, worse, partly so, mixed, no difference, or inconclusive."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.compare import MAIN_METRIC

ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """The verdict on B, compared with A.

    word: better | partly better | worse | partly worse | mixed | no difference | inconclusive. up,
    down: the metrics that rose and fell.
    """

    word: str
    up: list[str]
    down: list[str]


def judge(metrics: pd.DataFrame) -> Verdict:
    """Return the verdict on a COMPARISON table.

    A metric has changed if its p-value, corrected for several metrics (`p_holm`), is at most ALPHA.
    better, worse: MAIN_METRIC rose or fell. Other metrics do not matter then: those of the top
    ranks may well change in the other direction.
    partly better, partly worse, mixed: MAIN_METRIC did not change; others rose, fell, or both.
    no difference: no metric changed.
    inconclusive: the interval of MAIN_METRIC is infinite.
    """
    if np.isinf(metrics.loc[metrics["metric"] == MAIN_METRIC, "low"]).any():
        return Verdict("inconclusive", [], [])
    changed = metrics[metrics["p_holm"] <= ALPHA]
    up = list(changed.loc[changed["difference"] > 0, "metric"])
    down = list(changed.loc[changed["difference"] < 0, "metric"])
    if not up and not down:
        return Verdict("no difference", up, down)
    if up and down and MAIN_METRIC not in (*up, *down):
        return Verdict("mixed", up, down)
    word = "better" if MAIN_METRIC in up or not down else "worse"
    partly = "" if MAIN_METRIC in (*up, *down) else "partly "
    return Verdict(partly + word, up, down)
