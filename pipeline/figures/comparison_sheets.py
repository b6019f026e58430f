"""Sheets of the queries that one model answers better than another, with the results of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw

from pipeline.figures.fonts import SheetFont
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
    truncate,
    wrap_title,
)
from pipeline.figures.shown_queries import ShownQueries, count

TILE = 104  # pixels; smaller than on other sheets, since two blocks of results stand side by side
BREAK = 36  # between the query and the blocks, with a vertical line in its middle


@dataclass(frozen=True)
class ComparedQuery:
    """A query, and the results of both models, by ascending rank."""

    query: Tile
    a: list[Tile]
    b: list[Tile]


def choose_changed_queries(
    a: pd.DataFrame, b: pd.DataFrame, *, gained: bool, rows: int
) -> ShownQueries:
    """Return the at most `rows` queries whose average precision changed most from A to B.

    a, b: tables QUERIES; queries that only one has, or without positives, are left out. gained:
    the queries that B answers better; otherwise those that it answers worse.
    """
    before, after = (table.set_index("image_id")["average_precision"] for table in (a, b))
    change = (after - before).dropna()
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    number, word, moved = (better, "Better", "gained") if gained else (worse, "Worse", "lost")
    total = count(len(change), "query", "queries")
    others = f"{worse:,} lost" if gained else f"{better:,} gained"
    title = (
        f"{word} in B: {number:,} of {total} {moved} average precision (AP); {others}, "
        f"{(change == 0).sum():,} unchanged."
    )
    if number > rows:
        title += f" Shown: the {rows} that {moved} most."
    sizes = (change if gained else -change).rename("size").reset_index()
    largest = sizes[sizes["size"] > 0].sort_values(["size", "image_id"], ascending=[False, True])
    return ShownQueries(list(largest["image_id"][:rows]), title)


def comparison_rows(
    shown: ShownQueries,
    queries: tuple[pd.DataFrame, pd.DataFrame],
    neighbors: tuple[pd.DataFrame, pd.DataFrame],
    class_of: Mapping[str, str],
    *,
    columns: int,
) -> list[ComparedQuery]:
    """Return a row for each query, with the results of rank 1..columns of A and of B.

    queries, neighbors: the tables QUERIES and NEIGHBORS of A and of B. class_of: image_id -> the
    names of its classes.
    """
    rows_a, rows_b = (
        result_rows(shown, of_model, results, class_of, columns=columns)
        for of_model, results in zip(queries, neighbors, strict=True)
    )
    before, after = (table.set_index("image_id")["average_precision"] for table in queries)
    return [
        ComparedQuery(
            Tile(query, class_of[query], f"AP {before[query]:.2f} → {after[query]:.2f}", INK),
            row_a.results,
            row_b.results,
        )
        for query, row_a, row_b in zip(shown.queries, rows_a, rows_b, strict=True)
    ]


def draw_comparison_sheet(
    title: str,
    rows: list[ComparedQuery],
    headings: tuple[str, str],
    read_image: ReadImage,
    *,
    size: int = TILE,
) -> Image.Image:
    """Return the sheet as one RGB image; without rows it is the title alone.

    headings: the texts above A's block and B's. size: pixels; each image is fitted into a square
    of this side.
    """
    columns = max((len(tiles) for row in rows for tiles in (row.a, row.b)), default=0) or 3
    width = block_left(1, columns, size) + columns * (box(size) + GAP) - GAP + MARGIN
    lines = wrap_title(title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (2 * LINE + 16 if rows else 0)
    step = box(size) + CAPTION + GAP
    sheet = Image.new("RGB", (width, top + len(rows) * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    if rows:
        _draw_headings(ImageDraw.Draw(sheet), headings, columns, size, top=top)
    for number, row in enumerate(rows):
        y = top + number * step
        draw_tile(sheet, row.query, read_image, x=MARGIN, y=y, size=size)
        for block, tiles in enumerate((row.a, row.b)):
            for place, tile in enumerate(tiles):
                x = block_left(block, columns, size) + place * (box(size) + GAP)
                draw_tile(sheet, tile, read_image, x=x, y=y, size=size)
    return sheet


def block_left(block: int, columns: int, size: int = TILE) -> int:
    """Return the left edge, in pixels, of the results of A (0) or B (1)."""
    return MARGIN + box(size) + BREAK + block * (columns * (box(size) + GAP) - GAP + BREAK)


def _draw_headings(
    draw: Any, headings: tuple[str, str], columns: int, size: int, *, top: int
) -> None:
    bold, plain = SheetFont(13, bold=True), SheetFont(12)
    plain.draw(draw, (MARGIN, top - LINE - 5), "query", FAINT)
    width = columns * (box(size) + GAP) - GAP
    for block, heading in enumerate(headings):
        left = block_left(block, columns, size)
        line_x = left - BREAK // 2
        draw.line((line_x, top - 2 * LINE - 8, line_x, draw.im.size[1] - MARGIN), RULE, 2)
        bold.draw(draw, (left, top - 2 * LINE - 9), truncate(heading, bold, width), INK)
        for place in range(columns):
            x = left + place * (box(size) + GAP)
            plain.draw(draw, (x, top - LINE - 5), f"rank {place + 1}", FAINT)
