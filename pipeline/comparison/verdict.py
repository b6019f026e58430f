"""The verdict of a comparison: better, worse, mixed, no difference, or inconclusive."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.comparison.compare import MAIN

ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """word: better | worse | no difference | mixed | inconclusive, of B. up, down: what changed."""

    word: str
    up: list[str]
    down: list[str]


def judge(figures: pd.DataFrame) -> Verdict:
    """Return the verdict on a COMPARISON table.

    A metric has changed where its p-value, corrected for their number (`p_holm`), is at most ALPHA.
    B is better where MAIN went up and worse where it went down, whatever the others did: near the
    top, a metric may well go the other way. Nothing changed is no difference; where others changed
    and MAIN did not, it is mixed. Where the interval of MAIN is infinite, it is inconclusive.
    """
    if np.isinf(figures.loc[figures["metric"] == MAIN, "low"]).any():
        return Verdict("inconclusive", [], [])
    changed = figures[figures["p_holm"] <= ALPHA]
    up = list(changed.loc[changed["difference"] > 0, "metric"])
    down = list(changed.loc[changed["difference"] < 0, "metric"])
    if not up and not down:
        return Verdict("no difference", up, down)
    word = "better" if MAIN in up else "worse" if MAIN in down else "mixed"
    return Verdict(word, up, down)
