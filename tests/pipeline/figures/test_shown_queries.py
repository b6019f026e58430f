import pandas as pd
import pytest

from pipeline.figures.shown_queries import ShownQueries, choose_failures, choose_successes


def queries(first: list[int | None], average: list[float], positives: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"q{i}" for i in range(len(first))],
            "positives": positives,
            "first_hit_rank": pd.array(first, dtype="Int32"),
            "average_precision": average,
        }
    )


def failures(table: pd.DataFrame, k: int, *, noise: tuple[str, ...] = ()) -> pd.DataFrame:
    failed = table[(table["first_hit_rank"] > k).fillna(False)]
    return failed.assign(near_duplicate=failed["image_id"].isin(noise))


def successes(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["first_hit_rank"] == 1).fillna(False)]


def test_the_worst_failure_comes_first() -> None:
    table = queries([1, 9, 20, 8, 30], [0.9, 0.2, 0.1, 0.3, 0.0])
    shown = choose_failures(failures(table, 8), table, model="finetuned", k=8, rows=2)
    assert shown.queries == ["q4", "q2"]
    assert shown.title == (
        "Failures of finetuned: 3 of 5 queries have no relevant image in the top 8. "
        "Shown: the 2 with the lowest average precision (AP)."
    )


def test_failures_from_label_noise_are_counted() -> None:
    table = queries([1, 9], [0.9, 0.2])
    failed = failures(table, 8, noise=("q1",))
    assert choose_failures(failed, table, model="m", k=8, rows=2).title == (
        "Failures of m: 1 of 2 queries has no relevant image in the top 8, "
        "1 of them because of label noise."
    )


@pytest.mark.parametrize(
    ("first", "wrong"),
    [
        ([1, 3, 2], "2 have a wrong image"),
        ([1, 3], "1 has a wrong image"),
        ([1], "none has a wrong image"),
    ],
)
def test_without_failures_the_title_says_so(first: list[int | None], wrong: str) -> None:
    table = queries(first, [0.9] * len(first))
    shown = choose_failures(failures(table, 8), table, model="m", k=8, rows=5)
    total = f"{len(first)} queries" if len(first) > 1 else "1 query"
    assert shown == ShownQueries(
        [],
        f"No failures of m: each of {total} has a relevant image in the top 8; {wrong} at rank 1.",
    )


def test_where_nothing_was_measured_the_title_says_so() -> None:
    table = queries([None], [float("nan")])
    table.loc[0, "positives"] = 0
    shown = choose_failures(failures(table, 8), table, model="m", k=8, rows=5)
    text = "No failures of m: nothing was measured, as no image can be a query."
    assert shown == ShownQueries([], text)


def test_a_query_without_positives_is_not_counted() -> None:
    table = queries([None, 1], [float("nan"), 1.0])
    table.loc[0, "positives"] = 0
    shown = choose_failures(failures(table, 8), table, model="m", k=8, rows=5)
    assert "each of 1 query has" in shown.title
    classes = {"q0": "cup", "q1": "cup"}
    shown = choose_successes(successes(table), table, classes, model="m", rows=5, seed=1)
    assert shown.queries == ["q1"]
    assert "1 of 1 query has a relevant image at rank 1." in shown.title


def test_every_class_gives_one_success_before_any_gives_two() -> None:
    table = queries([1] * 20 + [2], [1.0] * 21)
    classes = {f"q{i}": "big" if i < 17 else f"small{i}" for i in range(21)}
    shown = choose_successes(successes(table), table, classes, model="m", rows=4, seed=3)
    assert sorted(classes[query] for query in shown.queries) == [
        "big",
        "small17",
        "small18",
        "small19",
    ]
    assert shown == choose_successes(successes(table), table, classes, model="m", rows=4, seed=3)
    others = [
        choose_successes(successes(table), table, classes, model="m", rows=4, seed=s)
        for s in range(4, 9)
    ]
    assert any(other.queries != shown.queries for other in others)


def test_without_successes_the_title_says_so() -> None:
    shown = choose_successes(
        successes(queries([2], [0.5])),
        queries([2], [0.5]),
        {"q0": "cup"},
        model="m",
        rows=4,
        seed=3,
    )
    assert shown.title == "No successes of m: none of 1 query has a relevant image at rank 1."
