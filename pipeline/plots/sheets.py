"""Sheets of queries and what was retrieved for them: green frames are relevant, red are not."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.plots.cases import Cases
from pipeline.plots.palette import FAINT, INK, RELEVANT, WRONG, font_path

TILE = 128  # pixels that a picture is fitted into, whatever its own size
FRAME = 5
GAP = 10  # between neighbouring tiles
BREAK = 26  # between the query and what was retrieved for it
MARGIN = 16
LINE = 15  # of a caption
CAPTION = 2 * LINE + 4
BACKGROUND = "#ffffff"
PAPER = "#eef0f3"  # behind a picture that is not square
BOX = TILE + 2 * FRAME


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: what stands below it, and the colour of its frame."""

    image_id: str
    name: str
    note: str
    frame: str


@dataclass(frozen=True)
class Row:
    """A query and what was retrieved for it, by ascending rank."""

    query: Tile
    answers: list[Tile]


def sheet_rows(
    cases: Cases,
    queries: pd.DataFrame,
    neighbors: pd.DataFrame,
    names: Mapping[str, str],
    *,
    columns: int,
) -> list[Row]:
    """Return a row for each case, with the answers of rank 1..columns from NEIGHBORS.

    names: image_id -> class name. The note of a query is its average precision and first hit.
    """
    kept = neighbors[(neighbors["rank"] <= columns) & neighbors["query"].isin(cases.queries)]
    answers = {query: rows.sort_values("rank") for query, rows in kept.groupby("query")}
    nothing = kept[:0]  # an approximate index may find no answer at all
    facts = queries.set_index("image_id").to_dict("index")
    rows = []
    for query in cases.queries:
        tiles = [_answer(found, names) for found in answers.get(query, nothing).itertuples()]
        note = _query_note(facts[query])
        rows.append(Row(Tile(query, names[query], note, INK), tiles))
    return rows


def draw_sheet(title: str, rows: list[Row], picture: Callable[[str], Image.Image]) -> Image.Image:
    """Return the sheet as one RGB picture; without rows it is the title alone.

    picture: image_id -> RGB picture of any size.
    """
    columns = max((len(row.answers) for row in rows), default=0) or 3
    width = 2 * MARGIN + BOX + BREAK + columns * (BOX + GAP) - GAP
    lines = wrap(title, _font(15, bold=True), width - 2 * MARGIN)
    top = MARGIN + len(lines) * 21 + (LINE + 12 if rows else 0)
    height = top + len(rows) * (BOX + CAPTION + GAP) + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + 21 * place), line, INK, _font(15, bold=True))
    if rows:
        _draw_headings(draw, columns, y=top - LINE - 5)
    for place, row in enumerate(rows):
        y = top + place * (BOX + CAPTION + GAP)
        _draw_tile(sheet, row.query, picture, x=MARGIN, y=y)
        for rank, tile in enumerate(row.answers, start=1):
            _draw_tile(sheet, tile, picture, x=answer_left(rank), y=y)
    return sheet


def answer_left(rank: int) -> int:
    """Return the left edge, in pixels, of the tile of `rank` (from 1)."""
    return MARGIN + BOX + BREAK + (rank - 1) * (BOX + GAP)


def truncate(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return `text`, ended by an ellipsis where it would be wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text.rstrip() + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return `text` in lines of at most `width` pixels; a longer word is truncated."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(truncate(word, font, width))
    return lines


def _answer(found: Any, names: Mapping[str, str]) -> Tile:
    image_id, relevant = str(found.image_id), bool(found.relevant)
    sign, frame = ("✓", RELEVANT) if relevant else ("✗", WRONG)
    note = f"{sign} {found.score:.3f}"
    return Tile(image_id, names[image_id], note, frame)


def _query_note(facts: Mapping[Hashable, Any]) -> str:
    first = facts["first_hit_rank"]
    hit = "no hit" if pd.isna(first) else f"hit at {int(first)}"
    return f"AP {facts['average_precision']:.2f}, {hit}"


def _draw_headings(draw: ImageDraw.ImageDraw, columns: int, *, y: int) -> None:
    draw.text((MARGIN, y), "query", FAINT, _font(12))
    for rank in range(1, columns + 1):
        draw.text((answer_left(rank), y), f"rank {rank}", FAINT, _font(12))


def _draw_tile(
    sheet: Image.Image, tile: Tile, picture: Callable[[str], Image.Image], *, x: int, y: int
) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((x, y, x + BOX - 1, y + BOX - 1), fill=tile.frame)
    fitted = ImageOps.pad(picture(tile.image_id), (TILE, TILE), Image.Resampling.LANCZOS, PAPER)
    sheet.paste(fitted, (x + FRAME, y + FRAME))
    bold, plain = _font(12, bold=tile.frame == INK), _font(12)
    draw.text((x, y + BOX + 2), truncate(tile.name, bold, BOX), INK, bold)
    draw.text((x, y + BOX + 2 + LINE), truncate(tile.note, plain, BOX), FAINT, plain)


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Basic layout: the complex one depends on a system library, and would differ by machine.
    return ImageFont.truetype(font_path(bold=bold), size, layout_engine=ImageFont.Layout.BASIC)
