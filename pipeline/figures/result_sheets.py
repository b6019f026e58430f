"""Sheets of queries and their results: green frames are relevant, red frames are not."""

from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw

from pipeline.figures.fonts import SheetFont
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
    wrap_title,
)
from pipeline.figures.shown_queries import ShownQueries

BREAK = 26  # between the query and its results


@dataclass(frozen=True)
class ResultRow:
    """A query and its results, by ascending rank."""

    query: Tile
    results: list[Tile]


def result_rows(
    shown: ShownQueries,
    queries: pd.DataFrame,
    neighbors: pd.DataFrame,
    class_of: Mapping[str, str],
    *,
    columns: int,
    near_duplicates: Set[tuple[str, str]] = frozenset(),
) -> list[ResultRow]:
    """Return a row for each query, with the results of rank 1..columns from NEIGHBORS.

    The note below a query is its average precision and the rank of its first hit.

    queries: QUERIES. class_of: image_id -> the names of its classes. near_duplicates: pairs
    (query, result) that are the same image under different labels.
    """
    kept = neighbors[(neighbors["rank"] <= columns) & neighbors["query"].isin(shown.queries)]
    by_query = {query: rows.sort_values("rank") for query, rows in kept.groupby("query")}
    no_results = kept[:0]  # an approximate index may find nothing for a query
    facts = queries.set_index("image_id").to_dict("index")
    rows = []
    for query in shown.queries:
        results = [
            _result_tile(
                result, class_of, near_duplicate=(query, result.image_id) in near_duplicates
            )
            for result in by_query.get(query, no_results).itertuples()
        ]
        note = _query_note(facts[query])
        rows.append(ResultRow(Tile(query, class_of[query], note, INK), results))
    return rows


def draw_result_sheet(
    title: str, rows: list[ResultRow], read_image: ReadImage, *, size: int = TILE
) -> Image.Image:
    """Return the sheet as one RGB image; without rows it is the title alone.

    size: pixels; each image is fitted into a square of this side.
    """
    columns = max((len(row.results) for row in rows), default=0) or 3
    width = result_left(columns + 1, size) - GAP + MARGIN
    lines = wrap_title(title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (LINE + 12 if rows else 0)
    step = box(size) + CAPTION + GAP
    sheet = Image.new("RGB", (width, top + len(rows) * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    if rows:
        _draw_headings(ImageDraw.Draw(sheet), columns, size, y=top - LINE - 5)
    for number, row in enumerate(rows):
        y = top + number * step
        draw_tile(sheet, row.query, read_image, x=MARGIN, y=y, size=size)
        for rank, tile in enumerate(row.results, start=1):
            draw_tile(sheet, tile, read_image, x=result_left(rank, size), y=y, size=size)
    return sheet


def result_left(rank: int, size: int = TILE) -> int:
    """Return the left edge, in pixels, of the tile of `rank` (from 1)."""
    return MARGIN + box(size) + BREAK + (rank - 1) * (box(size) + GAP)


def _result_tile(result: Any, class_of: Mapping[str, str], *, near_duplicate: bool) -> Tile:
    image_id = str(result.image_id)
    sign, frame = ("✓", RELEVANT) if result.relevant else ("✗", WRONG)
    note = f"{sign} {result.score:.3f}{', duplicate' if near_duplicate else ''}"
    return Tile(image_id, class_of[image_id], note, frame)


def _query_note(facts: Mapping[Hashable, Any]) -> str:
    rank = facts["first_hit_rank"]
    hit = "no hit" if pd.isna(rank) else f"hit at {int(rank)}"
    return f"AP {facts['average_precision']:.2f}, {hit}"


def _draw_headings(draw: ImageDraw.ImageDraw, columns: int, size: int, *, y: int) -> None:
    font = SheetFont(12)
    font.draw(draw, (MARGIN, y), "query", FAINT)
    for rank in range(1, columns + 1):
        font.draw(draw, (result_left(rank, size), y), f"rank {rank}", FAINT)
