import pandas as pd
import pytest
from PIL import Image, ImageColor

from pipeline.figures.chosen_queries import ChosenQueries, choose_failures, choose_successes
from pipeline.figures.palette import RELEVANT, WRONG
from pipeline.figures.sheets import answer_left, draw_sheet, sheet_rows
from pipeline.figures.tiles import CAPTION, FRAME, GAP, MARGIN, TILE, box, font, truncate, wrap

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


def failures(table: pd.DataFrame, k: int, *, noise: tuple[str, ...] = ()) -> pd.DataFrame:
    failed = table[(table["first_hit_rank"] > k).fillna(False)]
    return failed.assign(near_duplicate=failed["image_id"].isin(noise))


def successes(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["first_hit_rank"] == 1).fillna(False)]


def test_the_worst_failure_comes_first() -> None:
    table = queries([1, 9, 20, 8, 30], [0.9, 0.2, 0.1, 0.3, 0.0])
    cases = choose_failures(failures(table, 8), table, model="finetuned", k=8, rows=2)
    assert cases.queries == ["q4", "q2"]
    assert cases.title == (
        "Failures of finetuned: 3 of 5 queries have no relevant image in the top 8; "
        "the 2 worst by average precision are shown."
    )


def test_failures_that_the_labels_make_are_counted() -> None:
    table = queries([1, 9], [0.9, 0.2])
    failed = failures(table, 8, noise=("q1",))
    assert choose_failures(failed, table, model="m", k=8, rows=2).title == (
        "Failures of m: 1 of 2 queries has no relevant image in the top 8, "
        "1 of them by label noise."
    )


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ([1, 3, 2], "2 have a wrong one"),
        ([1, 3], "1 has a wrong one"),
        ([1], "none has a wrong one"),
    ],
)
def test_no_failure_is_said(first: list[int | None], told: str) -> None:
    table = queries(first, [0.9] * len(first))
    cases = choose_failures(failures(table, 8), table, model="m", k=8, rows=5)
    total = f"{len(first)} queries" if len(first) > 1 else "1 query"
    assert cases == ChosenQueries(
        [],
        f"No failures of m: each of {total} has a relevant image in the top 8; {told} at rank 1.",
    )


def test_a_query_without_positives_is_not_counted() -> None:
    table = queries([None, 1], [float("nan"), 1.0])
    table.loc[0, "positives"] = 0
    cases = choose_failures(failures(table, 8), table, model="m", k=8, rows=5)
    assert "each of 1 query has" in cases.title
    classes = {"q0": "cup", "q1": "cup"}
    chosen = choose_successes(successes(table), table, classes, model="m", rows=5, seed=1)
    assert chosen.queries == ["q1"]
    assert "1 of 1 query has a relevant image at rank 1." in chosen.title


def test_successes_are_drawn_from_every_class_before_any_gives_two() -> None:
    table = queries([1] * 20 + [2], [1.0] * 21)
    classes = {f"q{i}": "big" if i < 17 else f"small{i}" for i in range(21)}
    chosen = choose_successes(successes(table), table, classes, model="m", rows=4, seed=3)
    assert sorted(classes[query] for query in chosen.queries) == [
        "big",
        "small17",
        "small18",
        "small19",
    ]
    assert chosen == choose_successes(successes(table), table, classes, model="m", rows=4, seed=3)
    others = [
        choose_successes(successes(table), table, classes, model="m", rows=4, seed=s)
        for s in range(4, 9)
    ]
    assert any(other.queries != chosen.queries for other in others)


def test_no_success_is_said() -> None:
    chosen = choose_successes(
        successes(queries([2], [0.5])),
        queries([2], [0.5]),
        {"q0": "cup"},
        model="m",
        rows=4,
        seed=3,
    )
    assert chosen.title == "No successes of m: none of 1 query is answered right at rank 1."


@pytest.fixture
def found() -> pd.DataFrame:
    # Out of order on purpose: the sheet orders by rank.
    rows = [("q0", rank, f"a{rank}", 1 - rank / 10, rank % 2 == 0) for rank in (3, 1, 4, 2)]
    return pd.DataFrame(rows, columns=["query", "rank", "image_id", "score", "relevant"])


NAMES = {"q0": "cup", **{f"a{rank}": f"class {rank}" for rank in range(1, 5)}}


def test_answers_stand_by_rank_up_to_the_columns(found: pd.DataFrame) -> None:
    facts = queries([2], [0.5])
    [row] = sheet_rows(ChosenQueries(["q0"], ""), facts, found, NAMES, columns=3)
    assert [tile.image_id for tile in row.answers] == ["a1", "a2", "a3"]
    assert [tile.note for tile in row.answers] == ["✗ 0.900", "✓ 0.800", "✗ 0.700"]
    assert [tile.name for tile in row.answers] == ["class 1", "class 2", "class 3"]
    assert (row.query.name, row.query.note) == ("cup", "AP 0.50, hit at 2")


def test_a_wrong_answer_that_is_the_same_image_is_said_to_be(found: pd.DataFrame) -> None:
    facts, same = queries([2], [0.5]), frozenset({("q0", "a1"), ("q1", "a3")})
    [row] = sheet_rows(
        ChosenQueries(["q0"], ""), facts, found, NAMES, columns=3, near_duplicates=same
    )
    assert [tile.note for tile in row.answers] == ["✗ 0.900, duplicate", "✓ 0.800", "✗ 0.700"]
    widest = font(12).getlength("✗ -0.900, duplicate")
    assert widest <= BOX


def test_a_query_without_answers_is_a_row_of_its_own(found: pd.DataFrame) -> None:
    cases, facts = ChosenQueries(["q0", "q1"], ""), queries([2, None], [0.5, 0.0])
    rows = sheet_rows(cases, facts, found, NAMES | {"q1": "jug"}, columns=3)
    assert [len(row.answers) for row in rows] == [3, 0]
    [alone] = sheet_rows(ChosenQueries(["q1"], ""), facts, found[:0], {"q1": "jug"}, columns=3)
    draw_sheet("Nothing found.", [alone], lambda _: Image.new("RGB", (9, 9)))


@pytest.mark.parametrize("size", [(96, 96), (256, 256), (300, 40), (1, 1)])
def test_a_frame_is_green_exactly_where_the_image_is_relevant(
    found: pd.DataFrame, size: tuple[int, int]
) -> None:
    rows = sheet_rows(ChosenQueries(["q0"], ""), queries([2], [0.5]), found, NAMES, columns=4)
    sheet = draw_sheet("A title", rows, lambda _: Image.new("RGB", size, "#0000ff"))
    expected = {1: WRONG, 2: RELEVANT, 3: WRONG, 4: RELEVANT}
    for rank, colour in expected.items():
        column = sheet.crop((answer_left(rank), 0, answer_left(rank) + BOX, sheet.height))
        other = RELEVANT if colour == WRONG else WRONG
        area = BOX * BOX - TILE * TILE
        assert _count(column, colour) == area
        assert _count(column, other) == 0
        assert column.getpixel((FRAME + TILE // 2, _middle(sheet))) == (0, 0, 255)


def test_a_sheet_without_rows_is_its_title_alone() -> None:
    sheet = draw_sheet("No failures.", [], lambda _: Image.new("RGB", (9, 9)))
    assert sheet.height < 100
    assert _count(sheet, "#ffffff") < sheet.width * sheet.height


def test_a_long_name_ends_in_an_ellipsis_inside_its_tile() -> None:
    plain = font(12)
    cut = truncate("a class of a very long name indeed", plain, BOX)
    assert cut.endswith("…")
    assert cut.startswith("a class of")
    assert plain.getlength(cut) <= BOX
    assert truncate("cup", plain, BOX) == "cup"


def test_no_text_leaves_its_column(found: pd.DataFrame) -> None:
    names = dict.fromkeys(NAMES, "W" * 60)
    rows = sheet_rows(ChosenQueries(["q0"], ""), queries([2], [0.5]), found, names, columns=4)
    sheet = draw_sheet("W " * 200, rows, lambda _: Image.new("RGB", (96, 96)))
    for left, right in [(answer_left(r) + BOX, answer_left(r + 1)) for r in (1, 2, 3)]:
        gutter = sheet.crop((left, _middle(sheet) - TILE // 2, right, sheet.height))
        assert _count(gutter, "#ffffff") == gutter.width * gutter.height
    margin = sheet.crop((sheet.width - MARGIN + 1, 0, sheet.width, sheet.height))
    assert _count(margin, "#ffffff") == margin.width * margin.height


def test_wrapped_lines_hold_every_word_and_fit() -> None:
    bold = font(15, bold=True)
    text = "Failures of finetuned: 3 of 5 queries have no relevant image in the top 8"
    lines = wrap(text, bold, 200)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert all(bold.getlength(line) <= 200 for line in lines)


def _count(image: Image.Image, colour: str) -> int:
    wanted = ImageColor.getrgb(colour)
    return sum(n for n, found in image.getcolors(2**24) if found == wanted)


def _middle(sheet: Image.Image) -> int:
    """The row of pixels through the middle of the only row of tiles."""
    return sheet.height - MARGIN - GAP - CAPTION - BOX // 2
