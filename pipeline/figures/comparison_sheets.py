"""Sheets of queries that one model answers better than another, with what both found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw

from pipeline.figures.palette import FAINT, INK, RULE
from pipeline.figures.result_sheets import result_rows
from pipeline.figures.sheet_tiles import (
    BACKGROUND,
    CAPTION,
    GAP,
    LINE,
    MARGIN,
    TITLE_LINE,
    ReadImage,
    Tile,
    box,
    draw_tile,
    draw_title,
    font,
    truncate,
    wrap_title,
)
from pipeline.figures.shown_queries import ShownQueries

TILE = 104  # pixels; smaller than on other sheets, since there are two blocks of answers
BREAK = 36  # between the query and the blocks, with a rule in its middle


@dataclass(frozen=True)
class ComparedQuery:
    """A query, and what both models found for it, by ascending rank."""

    query: Tile
    a: list[Tile]
    b: list[Tile]


def choose_changed_queries(
    a: pd.DataFrame, b: pd.DataFrame, *, gained: bool, rows: int
) -> ShownQueries:
    """Return the at most `rows` queries whose average precision changed most from A to B.

    a, b: tables QUERIES; queries that only one has, or without positives, are left out. gained:
    those that B answers better; else those that it answers worse.
    """
    before, after = (table.set_index("image_id")["average_precision"] for table in (a, b))
    change = (after - before).dropna()
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    counted, verb, moved = (better, "better", "gained") if gained else (worse, "worse", "lost")
    total = "1 query" if len(change) == 1 else f"{len(change)} queries"
    title = f"{verb.capitalize()} in B: {counted} of {total} {moved} average precision"
    if counted > rows:
        title += f", the {rows} that {moved} most are shown"
    ordered = (change if gained else -change).rename("size").reset_index()
    ordered = ordered[ordered["size"] > 0].sort_values(
        ["size", "image_id"], ascending=[False, True]
    )
    others = f"{worse} lost" if gained else f"{better} gained"
    return ShownQueries(
        list(ordered["image_id"][:rows]), f"{title}; {others}, {(change == 0).sum()} stayed."
    )


def comparison_rows(
    cases: ShownQueries,
    queries: tuple[pd.DataFrame, pd.DataFrame],
    neighbors: tuple[pd.DataFrame, pd.DataFrame],
    names: Mapping[str, str],
    *,
    columns: int,
) -> list[ComparedQuery]:
    """Return a row for each case, with the answers of rank 1..columns of A and of B.

    queries, neighbors: the tables QUERIES and NEIGHBORS of A and of B. names: image_id -> class.
    """
    a, b = (
        result_rows(cases, asked, found, names, columns=columns)
        for asked, found in zip(queries, neighbors, strict=True)
    )
    before, after = (table.set_index("image_id")["average_precision"] for table in queries)
    return [
        ComparedQuery(
            Tile(query, names[query], f"AP {before[query]:.2f} → {after[query]:.2f}", INK),
            of_a.answers,
            of_b.answers,
        )
        for query, of_a, of_b in zip(cases.queries, a, b, strict=True)
    ]


def draw_comparison_sheet(
    title: str,
    rows: list[ComparedQuery],
    headings: tuple[str, str],
    image: ReadImage,
    *,
    size: int = TILE,
) -> Image.Image:
    """Return the sheet as one RGB image; without rows it is the title alone.

    headings: what stands above A's block and B's. size: pixels that each image is fitted into.
    """
    columns = max((len(each) for row in rows for each in (row.a, row.b)), default=0) or 3
    width = block_left(1, columns, size) + columns * (box(size) + GAP) - GAP + MARGIN
    lines = wrap_title(title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (2 * LINE + 16 if rows else 0)
    step = box(size) + CAPTION + GAP
    sheet = Image.new("RGB", (width, top + len(rows) * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    if rows:
        _draw_headings(ImageDraw.Draw(sheet), headings, columns, size, top=top)
    for place, row in enumerate(rows):
        y = top + place * step
        draw_tile(sheet, row.query, image, x=MARGIN, y=y, size=size)
        for block, tiles in enumerate((row.a, row.b)):
            for rank, tile in enumerate(tiles):
                x = block_left(block, columns, size) + rank * (box(size) + GAP)
                draw_tile(sheet, tile, image, x=x, y=y, size=size)
    return sheet


def block_left(block: int, columns: int, size: int = TILE) -> int:
    """Return the left edge, in pixels, of the answers of A (0) or B (1)."""
    return MARGIN + box(size) + BREAK + block * (columns * (box(size) + GAP) - GAP + BREAK)


def _draw_headings(
    draw: Any, headings: tuple[str, str], columns: int, size: int, *, top: int
) -> None:
    draw.text((MARGIN, top - LINE - 5), "query", FAINT, font(12))
    wide = columns * (box(size) + GAP) - GAP
    for block, heading in enumerate(headings):
        left = block_left(block, columns, size)
        rule = left - BREAK // 2
        draw.line((rule, top - 2 * LINE - 8, rule, draw.im.size[1] - MARGIN), RULE, 2)
        bold = font(13, bold=True)
        draw.text((left, top - 2 * LINE - 9), truncate(heading, bold, wide), INK, bold)
        for rank in range(columns):
            x = left + rank * (box(size) + GAP)
            draw.text((x, top - LINE - 5), f"rank {rank + 1}", FAINT, font(12))
