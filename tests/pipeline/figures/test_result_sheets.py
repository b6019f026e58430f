import pandas as pd
import pytest
from PIL import Image, ImageColor

from pipeline.figures.fonts import SheetFont
from pipeline.figures.palette import RELEVANT, WRONG
from pipeline.figures.result_sheets import draw_result_sheet, result_left, result_rows
from pipeline.figures.sheet_tiles import (
    CAPTION,
    FRAME,
    GAP,
    MARGIN,
    TILE,
    box,
)
from pipeline.figures.shown_queries import ShownQueries

BOX = box(TILE)


def queries(first: list[int | None], average: list[float], positives: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"q{i}" for i in range(len(first))],
            "positives": positives,
            "first_hit_rank": pd.array(first, dtype="Int32"),
            "average_precision": average,
        }
    )


@pytest.fixture
def neighbors() -> pd.DataFrame:
    # Out of order on purpose: the sheet orders by rank.
    rows = [("q0", rank, f"a{rank}", 1 - rank / 10, rank % 2 == 0) for rank in (3, 1, 4, 2)]
    return pd.DataFrame(rows, columns=["query", "rank", "image_id", "score", "relevant"])


NAMES = {"q0": "cup", **{f"a{rank}": f"class {rank}" for rank in range(1, 5)}}


def test_results_stand_by_rank_up_to_the_columns(neighbors: pd.DataFrame) -> None:
    facts = queries([2], [0.5])
    [row] = result_rows(ShownQueries(["q0"], ""), facts, neighbors, NAMES, columns=3)
    assert [tile.image_id for tile in row.results] == ["a1", "a2", "a3"]
    assert [tile.note for tile in row.results] == ["✗ 0.900", "✓ 0.800", "✗ 0.700"]
    assert [tile.name for tile in row.results] == ["class 1", "class 2", "class 3"]
    assert (row.query.name, row.query.note) == ("cup", "AP 0.50, hit at 2")


def test_a_wrong_result_that_is_a_near_duplicate_is_marked(neighbors: pd.DataFrame) -> None:
    facts, same = queries([2], [0.5]), frozenset({("q0", "a1"), ("q1", "a3")})
    [row] = result_rows(
        ShownQueries(["q0"], ""), facts, neighbors, NAMES, columns=3, near_duplicates=same
    )
    assert [tile.note for tile in row.results] == ["✗ 0.900, duplicate", "✓ 0.800", "✗ 0.700"]
    widest = SheetFont(12).getlength("✗ -0.900, duplicate")
    assert widest <= BOX


def test_a_query_without_results_still_has_a_row(neighbors: pd.DataFrame) -> None:
    shown, facts = ShownQueries(["q0", "q1"], ""), queries([2, None], [0.5, 0.0])
    rows = result_rows(shown, facts, neighbors, NAMES | {"q1": "jug"}, columns=3)
    assert [len(row.results) for row in rows] == [3, 0]
    [alone] = result_rows(ShownQueries(["q1"], ""), facts, neighbors[:0], {"q1": "jug"}, columns=3)
    draw_result_sheet("Nothing found.", [alone], lambda _: Image.new("RGB", (9, 9)))


@pytest.mark.parametrize("size", [(96, 96), (256, 256), (300, 40), (1, 1)])
def test_a_frame_is_green_exactly_where_the_image_is_relevant(
    neighbors: pd.DataFrame, size: tuple[int, int]
) -> None:
    rows = result_rows(ShownQueries(["q0"], ""), queries([2], [0.5]), neighbors, NAMES, columns=4)
    sheet = draw_result_sheet("A title", rows, lambda _: Image.new("RGB", size, "#0000ff"))
    expected = {1: WRONG, 2: RELEVANT, 3: WRONG, 4: RELEVANT}
    for rank, color in expected.items():
        column = sheet.crop((result_left(rank), 0, result_left(rank) + BOX, sheet.height))
        other = RELEVANT if color == WRONG else WRONG
        area = BOX * BOX - TILE * TILE
        assert _count(column, color) == area
        assert _count(column, other) == 0
        assert column.getpixel((FRAME + TILE // 2, _middle(sheet))) == (0, 0, 255)


def test_a_sheet_without_rows_is_its_title_alone() -> None:
    sheet = draw_result_sheet("No failures.", [], lambda _: Image.new("RGB", (9, 9)))
    assert sheet.height < 100
    assert _count(sheet, "#ffffff") < sheet.width * sheet.height


def test_no_text_leaves_its_column(neighbors: pd.DataFrame) -> None:
    names = dict.fromkeys(NAMES, "W" * 60)
    rows = result_rows(ShownQueries(["q0"], ""), queries([2], [0.5]), neighbors, names, columns=4)
    sheet = draw_result_sheet("W " * 200, rows, lambda _: Image.new("RGB", (96, 96)))
    for left, right in [(result_left(r) + BOX, result_left(r + 1)) for r in (1, 2, 3)]:
        gutter = sheet.crop((left, _middle(sheet) - TILE // 2, right, sheet.height))
        assert _count(gutter, "#ffffff") == gutter.width * gutter.height
    margin = sheet.crop((sheet.width - MARGIN + 1, 0, sheet.width, sheet.height))
    assert _count(margin, "#ffffff") == margin.width * margin.height


def _count(image: Image.Image, color: str) -> int:
    wanted = ImageColor.getrgb(color)
    return sum(n for n, found in image.getcolors(2**24) if found == wanted)


def _middle(sheet: Image.Image) -> int:
    """The row of pixels through the middle of the only row of tiles."""
    return sheet.height - MARGIN - GAP - CAPTION - BOX // 2
