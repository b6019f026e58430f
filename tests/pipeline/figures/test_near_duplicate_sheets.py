"""The pairs of one image under two labels, and their sheet."""

import pandas as pd
import pytest
from PIL import Image, ImageColor

from pipeline.figures.near_duplicate_sheets import (
    NearDuplicatePairs,
    choose_near_duplicates,
    draw_near_duplicate_sheet,
)
from pipeline.figures.palette import INK, WRONG
from pipeline.figures.sheet_tiles import MARGIN, TILE, box

FRAME_AREA = box(TILE) ** 2 - TILE**2
NAMES = {name: f"class of {name}" for name in "abcdefgh"}


def queries(first: dict[str, int | None]) -> pd.DataFrame:
    ranks = pd.array(list(first.values()), dtype="Int32")
    positives = [0 if rank is None else 2 for rank in first.values()]
    return pd.DataFrame({"image_id": list(first), "positives": positives, "first_hit_rank": ranks})


def near_duplicates(rows: list[tuple[str, str, float, int]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["image_id", "top_hit", "cosine", "bits"])
    return table.assign(first_hit_rank=3)


def choose(found: pd.DataFrame, of_queries: pd.DataFrame, *, most: int = 8) -> NearDuplicatePairs:
    return choose_near_duplicates(
        found, of_queries, NAMES, model="m", most=most, cosine=0.9, bits=10
    )


QUERIES = queries({"a": 3, "b": 3, "c": 3, "d": 1, "e": 1, "f": None})


def test_the_title_says_how_many_and_what_recall_would_be() -> None:
    shown = choose(near_duplicates([("a", "b", 0.95, 2), ("b", "a", 0.95, 2)]), QUERIES)
    assert shown.title == (
        "Label noise of m: 2 of 5 queries have a near-duplicate under another label (cosine at "
        "least 0.9, hashes at most 10 of 64 bits apart, similar colors) at rank 1. Recall@1 is "
        "0.400, and would be 0.667 without them."
    )


def test_one_query_is_in_the_singular() -> None:
    title = choose(near_duplicates([("a", "g", 0.95, 2)]), QUERIES).title
    assert "1 of 5 queries has a near-duplicate" in title
    assert title.endswith("Recall@1 is 0.400, and would be 0.500 without it.")


def test_where_nothing_was_measured_the_title_says_so() -> None:
    unmeasured = QUERIES.assign(positives=0)
    assert choose(near_duplicates([]), unmeasured).title == (
        "No label noise of m: nothing was measured, as no image can be a query."
    )


def test_without_label_noise_the_title_says_so() -> None:
    assert choose(near_duplicates([]), QUERIES) == NearDuplicatePairs(
        [],
        "No label noise of m: none of 5 queries has a near-duplicate under another label (cosine "
        "at least 0.9, hashes at most 10 of 64 bits apart, similar colors) at rank 1. Recall@1 is "
        "0.400.",
    )


def test_if_all_queries_are_label_noise_no_other_recall_is_given() -> None:
    shown = choose(
        near_duplicates([("a", "b", 1.0, 0), ("b", "a", 1.0, 0)]), queries({"a": 2, "b": 2})
    )
    assert shown.title.endswith("at rank 1. Recall@1 is 0.000.")


def test_pairs_stand_once_and_the_most_alike_first() -> None:
    rows = [("a", "b", 0.95, 4), ("c", "a", 0.91, 0), ("b", "a", 0.95, 4), ("d", "e", 0.99, 4)]
    shown = choose(near_duplicates(rows), QUERIES)
    order = [(query.image_id, hit.image_id) for query, hit in shown.pairs]
    assert order == [("c", "a"), ("d", "e"), ("a", "b")]
    assert [hit.note for _, hit in shown.pairs] == [
        "✗ 0.910, 0 bits",
        "✗ 0.990, 4 bits",
        "✗ 0.950, 4 bits",
    ]
    query, hit = shown.pairs[0]
    assert (query.name, query.note) == ("class of c", "hit at 3")
    assert hit.name == "class of a"
    few = choose(near_duplicates(rows), QUERIES, most=2)
    assert few.pairs == shown.pairs[:2]
    assert few.title == f"{shown.title} Of 3 pairs, the 2 most alike are shown."


@pytest.mark.parametrize("pairs", [1, 3, 4, 5])
def test_every_pair_is_drawn_whole_with_a_frame_each(pairs: int) -> None:
    rows = [("abcde"[i], "fgh"[i % 3], 0.95, 2) for i in range(pairs)]
    shown = choose(near_duplicates(rows), QUERIES)
    sheet = draw_near_duplicate_sheet(
        shown, lambda _: Image.new("RGB", (300, 200), "#0000ff"), columns=3
    )
    assert _count(sheet, WRONG) == pairs * FRAME_AREA
    assert _count(sheet, "#0000ff") == 2 * pairs * TILE * round(TILE * 200 / 300)
    # Text is drawn in the color of the query's frame too.
    assert _count(sheet, INK) >= pairs * FRAME_AREA
    last = sheet.crop((0, sheet.height - 2 * MARGIN - box(TILE), sheet.width, sheet.height))
    assert _count(last, "#0000ff") > 0  # no empty row below


def test_without_pairs_a_sheet_is_its_title_alone() -> None:
    sheet = draw_near_duplicate_sheet(choose(near_duplicates([]), QUERIES), _blue, columns=4)
    assert sheet.height < 120
    assert 0 < _count(sheet, INK) < sheet.width * sheet.height


def _blue(_: str) -> Image.Image:
    return Image.new("RGB", (9, 9), "#0000ff")


def _count(image: Image.Image, color: str) -> int:
    wanted = ImageColor.getrgb(color)
    return sum(n for n, found in image.getcolors(2**24) if found == wanted)
