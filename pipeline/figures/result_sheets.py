"""Sheets of queries and what was retrieved for them: green frames are relevant, red are not."""

from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw

from pipeline.figures.palette import FAINT, INK, RELEVANT, WRONG
from pipeline.figures.sheet_tiles import (
    BACKGROUND,
    CAPTION,
    GAP,
    LINE,
    MARGIN,
    TILE,
    TITLE_LINE,
    ReadImage,
    Tile,
    box,
    draw_tile,
    draw_title,
    font,
    wrap_title,
)
from pipeline.figures.shown_queries import ShownQueries

BREAK = 26  # between the query and what was retrieved for it


@dataclass(frozen=True)
class ResultRow:
    """A query and what was retrieved for it, by ascending rank."""

    query: Tile
    answers: list[Tile]


def result_rows(
    cases: ShownQueries,
    queries: pd.DataFrame,
    neighbors: pd.DataFrame,
    names: Mapping[str, str],
    *,
    columns: int,
    near_duplicates: Set[tuple[str, str]] = frozenset(),
) -> list[ResultRow]:
    """Return a row for each case, with the answers of rank 1..columns from NEIGHBORS.

    names: image_id -> class name. The note of a query is its average precision and first hit.
    near_duplicates: (query, answer) of wrong answers that are said to be the same image.
    """
    kept = neighbors[(neighbors["rank"] <= columns) & neighbors["query"].isin(cases.queries)]
    answers = {query: rows.sort_values("rank") for query, rows in kept.groupby("query")}
    nothing = kept[:0]  # an approximate index may find no answer at all
    facts = queries.set_index("image_id").to_dict("index")
    rows = []
    for query in cases.queries:
        tiles = [
            _answer(found, names, same=(query, found.image_id) in near_duplicates)
            for found in answers.get(query, nothing).itertuples()
        ]
        note = _query_note(facts[query])
        rows.append(ResultRow(Tile(query, names[query], note, INK), tiles))
    return rows


def draw_result_sheet(
    title: str, rows: list[ResultRow], image: ReadImage, *, size: int = TILE
) -> Image.Image:
    """Return the sheet as one RGB image; without rows it is the title alone.

    size: pixels that each image is fitted into.
    """
    columns = max((len(row.answers) for row in rows), default=0) or 3
    width = result_left(columns + 1, size) - GAP + MARGIN
    lines = wrap_title(title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (LINE + 12 if rows else 0)
    step = box(size) + CAPTION + GAP
    sheet = Image.new("RGB", (width, top + len(rows) * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    if rows:
        _draw_headings(ImageDraw.Draw(sheet), columns, size, y=top - LINE - 5)
    for place, row in enumerate(rows):
        y = top + place * step
        draw_tile(sheet, row.query, image, x=MARGIN, y=y, size=size)
        for rank, tile in enumerate(row.answers, start=1):
            draw_tile(sheet, tile, image, x=result_left(rank, size), y=y, size=size)
    return sheet


def result_left(rank: int, size: int = TILE) -> int:
    """Return the left edge, in pixels, of the tile of `rank` (from 1)."""
    return MARGIN + box(size) + BREAK + (rank - 1) * (box(size) + GAP)


def _answer(found: Any, names: Mapping[str, str], *, same: bool) -> Tile:
    image_id, relevant = str(found.image_id), bool(found.relevant)
    sign, frame = ("✓", RELEVANT) if relevant else ("✗", WRONG)
    note = f"{sign} {found.score:.3f}{', duplicate' if same else ''}"
    return Tile(image_id, names[image_id], note, frame)


def _query_note(facts: Mapping[Hashable, Any]) -> str:
    first = facts["first_hit_rank"]
    hit = "no hit" if pd.isna(first) else f"hit at {int(first)}"
    return f"AP {facts['average_precision']:.2f}, {hit}"


def _draw_headings(draw: ImageDraw.ImageDraw, columns: int, size: int, *, y: int) -> None:
    draw.text((MARGIN, y), "query", FAINT, font(12))
    for rank in range(1, columns + 1):
        draw.text((result_left(rank, size), y), f"rank {rank}", FAINT, font(12))
