"""Which queries a person should look at: the worst failures, and a fair choice of successes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Cases:
    """Chosen queries in the order they are shown, and the sentence that says what they are."""

    queries: list[str]
    title: str


def choose_failures(queries: pd.DataFrame, *, model: str, k: int, rows: int) -> Cases:
    """Return at most `rows` failures among QUERIES, lowest average precision first.

    A failure has no relevant picture in the top k; where every query has one, a failure is a
    query whose first hit is not at rank 1. Queries without positives cannot fail.
    """
    asked = queries[queries["positives"] > 0]
    first = asked["first_hit_rank"].astype("float64").fillna(np.inf)
    missed, late = asked[first > k], asked[first > 1]
    total = _count(len(asked), "query", "queries")
    if not len(late):
        return Cases([], f"No failures of {model}: the first picture is right for all {total}.")
    if len(missed):
        verb = "has" if len(missed) == 1 else "have"
        found = f"{len(missed)} of {total} {verb} no relevant picture in the top {k}"
    else:
        verb = "is not" if len(late) == 1 else "are not"
        found = (
            f"every query has a relevant picture in the top {k}; {len(late)} of {total} {verb} "
            "answered right at rank 1"
        )
    failures = missed if len(missed) else late
    worst = failures.sort_values(["average_precision", "image_id"], na_position="first")[:rows]
    shown = "" if len(failures) <= rows else f", the {rows} worst by average precision are shown"
    return Cases(list(worst["image_id"]), f"Failures of {model}: {found}{shown}.")


def choose_successes(
    queries: pd.DataFrame, class_of: Mapping[str, str], *, model: str, rows: int, seed: int
) -> Cases:
    """Return at most `rows` queries whose first hit is at rank 1, drawn from `seed`.

    Every class is drawn from once before any is drawn from twice.

    class_of: image_id -> class name.
    """
    asked = queries[queries["positives"] > 0]
    right = asked[asked["first_hit_rank"] == 1]
    total = _count(len(asked), "query", "queries")
    if not len(right):
        return Cases([], f"No successes of {model}: none of {total} is answered right at rank 1.")
    shuffled = right.sort_values("image_id").sample(frac=1, random_state=seed)
    names = shuffled["image_id"].map(class_of)
    turn = names.groupby(names).cumcount()
    drawn = shuffled.loc[turn.sort_values(kind="stable").index][:rows]
    # Neighbouring rows of one class are read together.
    drawn = drawn.assign(name=names.loc[drawn.index]).sort_values(["name", "image_id"])
    verb = "has" if len(right) == 1 else "have"
    title = f"Successes of {model}: {len(right)} of {total} {verb} a relevant picture at rank 1"
    shown = "" if len(right) <= rows else f", {len(drawn)} are drawn, spread over the classes"
    return Cases(list(drawn["image_id"]), f"{title}{shown}.")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
