"""Which queries a person should look at: the worst failures, and a fair choice of successes."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class ShownQueries:
    """Chosen queries in the order they are shown, and the sentence that says what they are."""

    queries: list[str]
    title: str


def choose_failures(
    failures: pd.DataFrame, queries: pd.DataFrame, *, model: str, k: int, rows: int
) -> ShownQueries:
    """Return at most `rows` of FAILURES, lowest average precision first.

    queries: QUERIES, of which those without positives do not count. k: `evaluate.failure_k`.
    """
    asked = queries[queries["positives"] > 0]
    total = count(len(asked), "query", "queries")
    if not len(failures):
        late = int((asked["first_hit_rank"] > 1).sum())
        verb = "has" if late <= 1 else "have"
        title = (
            f"No failures of {model}: each of {total} has a relevant image in the top {k}; "
            f"{late or 'none'} {verb} a wrong one at rank 1."
        )
        return ShownQueries([], title)
    verb = "has" if len(failures) == 1 else "have"
    title = f"Failures of {model}: {len(failures)} of {total} {verb} no relevant image in the "
    title += f"top {k}"
    if noise := int(failures["near_duplicate"].sum()):
        title += f", {noise} of them by label noise"
    if len(failures) > rows:
        title += f"; the {rows} worst by average precision are shown"
    worst = failures.sort_values(["average_precision", "image_id"])[:rows]
    return ShownQueries(list(worst["image_id"]), f"{title}.")


def choose_successes(
    successes: pd.DataFrame,
    queries: pd.DataFrame,
    class_of: Mapping[str, str],
    *,
    model: str,
    rows: int,
    seed: int,
) -> ShownQueries:
    """Return at most `rows` of SUCCESSES, drawn from `seed`.

    Every class is drawn from once before any is drawn from twice.

    queries: QUERIES, of which those without positives do not count. class_of: image_id -> class
    name.
    """
    total = count(int((queries["positives"] > 0).sum()), "query", "queries")
    if not len(successes):
        return ShownQueries(
            [], f"No successes of {model}: none of {total} is answered right at rank 1."
        )
    shuffled = successes.sort_values("image_id").sample(frac=1, random_state=seed)
    names = shuffled["image_id"].map(class_of)
    turn = names.groupby(names).cumcount()
    drawn = shuffled.loc[turn.sort_values(kind="stable").index][:rows]
    # Neighbouring rows of one class are read together.
    drawn = drawn.assign(name=names.loc[drawn.index]).sort_values(["name", "image_id"])
    verb = "has" if len(successes) == 1 else "have"
    title = f"Successes of {model}: {len(successes)} of {total} {verb} a relevant image at rank 1"
    shown = "" if len(successes) <= rows else f", {len(drawn)} are drawn, spread over the classes"
    return ShownQueries(list(drawn["image_id"]), f"{title}{shown}.")


def count(number: int, one: str, many: str) -> str:
    """Return the number and its noun: "1 query", "2 queries"."""
    return f"{number} {one if number == 1 else many}"
