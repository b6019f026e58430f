"""Sheets of queries that two models answer differently: which queries, both blocks, frames."""

import pandas as pd
import pytest
from PIL import Image, ImageColor

from pipeline.figures.comparison_sheets import (
    TILE,
    block_left,
    choose_changed_queries,
    comparison_rows,
    draw_comparison_sheet,
)
from pipeline.figures.palette import RELEVANT, WRONG
from pipeline.figures.sheet_tiles import MARGIN, box
from pipeline.figures.shown_queries import ShownQueries

NAN = float("nan")


def queries(**average: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": list(average),
            "positives": 3,
            "first_hit_rank": pd.array([1] * len(average), dtype="Int32"),
            "average_precision": list(average.values()),
        }
    )


BEFORE = queries(a=0.1, b=0.5, c=0.9, d=0.4, e=0.2, f=NAN, only=0.1)
AFTER = queries(e=0.3, d=0.4, c=0.1, b=0.6, a=0.9, f=NAN, other=0.9)


def test_the_largest_change_comes_first_and_all_are_counted() -> None:
    assert choose_changed_queries(BEFORE, AFTER, gained=True, rows=2) == ShownQueries(
        ["a", "b"],
        "Better in B: 3 of 5 queries gained average precision (AP); 1 lost, 1 unchanged. Shown: "
        "the 2 that gained most.",
    )
    assert choose_changed_queries(BEFORE, AFTER, gained=False, rows=2) == ShownQueries(
        ["c"], "Worse in B: 1 of 5 queries lost average precision (AP); 3 gained, 1 unchanged."
    )


def neighbors(relevant: dict[str, list[bool]]) -> pd.DataFrame:
    rows = [
        (query, rank, f"{query}{rank}", 0.5, hit)
        for query, hits in relevant.items()
        for rank, hit in enumerate(hits, start=1)
    ]
    return pd.DataFrame(rows, columns=["query", "rank", "image_id", "score", "relevant"])


@pytest.fixture
def sheet() -> Image.Image:
    shown = choose_changed_queries(BEFORE, AFTER, gained=True, rows=1)
    found = (neighbors({"a": [False, False, True]}), neighbors({"a": [True, False, True]}))
    names = dict.fromkeys(("a", "a1", "a2", "a3"), "cup")
    rows = comparison_rows(shown, (BEFORE, AFTER), found, names, columns=2)
    assert rows[0].query.note == "AP 0.10 → 0.90"
    return draw_comparison_sheet(
        shown.title, rows, ("A: x", "B: y"), lambda _: Image.new("RGB", (9, 9))
    )


def test_the_results_of_each_model_stand_in_its_block(sheet: Image.Image) -> None:
    frames = {"✓": ImageColor.getrgb(RELEVANT), "✗": ImageColor.getrgb(WRONG)}
    for block, expected in enumerate(["✗✗", "✓✗"]):
        for rank, sign in enumerate(expected):
            x = block_left(block, 2) + rank * (box(TILE) + 10) + 2
            column = [sheet.getpixel((x, y)) for y in range(sheet.height)]
            assert column.count(frames[sign]) == box(TILE)
    assert sheet.width == block_left(1, 2) + 2 * box(TILE) + 10 + MARGIN


def test_without_a_change_the_sheet_is_its_title() -> None:
    shown = choose_changed_queries(BEFORE, BEFORE, gained=True, rows=2)
    assert (
        shown.title
        == "Better in B: 0 of 6 queries gained average precision (AP); 0 lost, 6 unchanged."
    )
    blank = draw_comparison_sheet(shown.title, [], ("A", "B"), lambda _: Image.new("RGB", (9, 9)))
    assert blank.height < box(TILE)
