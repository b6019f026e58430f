"""Which queries a sheet shows: the worst failures, and successes sampled from all classes."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class ShownQueries:
    """The queries of a sheet, in its order, and its title, which says how they were chosen."""

    queries: list[str]
    title: str


def choose_failures(
    failures: pd.DataFrame, queries: pd.DataFrame, *, model: str, k: int, rows: int
) -> ShownQueries:
    """Return at most `rows` of FAILURES, lowest average precision first.

    queries: QUERIES; those without positives are not counted. k: `evaluate.failure_k`.
    """
    measured = queries[queries["positives"] > 0]
    total = count(len(measured), "query", "queries")
    if measured.empty:
        title = f"No failures of {model}: nothing was measured, as no image can be a query."
        return ShownQueries([], title)
    if not len(failures):
        wrong = int((measured["first_hit_rank"] > 1).sum())
        verb = "has" if wrong <= 1 else "have"
        title = (
            f"No failures of {model}: each of {total} has a relevant image in the top {k}; "
            f"{wrong or 'none'} {verb} a wrong image at rank 1."
        )
        return ShownQueries([], title)
    verb = "has" if len(failures) == 1 else "have"
    title = f"Failures of {model}: {len(failures):,} of {total} {verb} no relevant image in the "
    title += f"top {k}"
    if noise := int(failures["near_duplicate"].sum()):
        title += f", {noise:,} of them because of label noise"
    if len(failures) > rows:
        title += f". Shown: the {rows} with the lowest average precision (AP)"
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
    """Return at most `rows` of SUCCESSES, sampled with `seed`.

    Every class gives one query before any class gives a second one.

    queries: QUERIES; those without positives are not counted. class_of: image_id -> the names of
    its classes.
    """
    total = count(int((queries["positives"] > 0).sum()), "query", "queries")
    if not len(successes):
        return ShownQueries(
            [], f"No successes of {model}: none of {total} has a relevant image at rank 1."
        )
    shuffled = successes.sort_values("image_id").sample(frac=1, random_state=seed)
    classes = shuffled["image_id"].map(class_of)
    turn = classes.groupby(classes).cumcount()
    sampled = shuffled.loc[turn.sort_values(kind="stable").index][:rows]
    # Rows of one class stand together, which is easier to read.
    by_class = sampled.assign(name=classes.loc[sampled.index]).sort_values(["name", "image_id"])
    verb = "has" if len(successes) == 1 else "have"
    title = f"Successes of {model}: {len(successes):,} of {total} {verb} a relevant image at rank 1"
    if len(successes) > rows:
        title += f". Shown: {len(by_class)} of them, sampled from all classes"
    return ShownQueries(list(by_class["image_id"]), f"{title}.")


def count(number: int, one: str, many: str) -> str:
    """Return the number and its noun.

    >>> count(1, "query", "queries"), count(2, "query", "queries")
    ('1 query', '2 queries')
    """
    return f"{number:,} {one if number == 1 else many}"
