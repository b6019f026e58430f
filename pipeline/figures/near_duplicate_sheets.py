"""Sheets of label noise: queries beside a top hit that is the same image under another label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.figures.palette import INK, WRONG
from pipeline.figures.sheet_tiles import (
    BACKGROUND,
    CAPTION,
    GAP,
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
from pipeline.figures.shown_queries import count

BREAK = 30  # between two pairs
TOUCH = 2  # between the two images of a pair


@dataclass(frozen=True)
class NearDuplicatePairs:
    """Pairs of images in the order of the sheet, and its title."""

    pairs: list[tuple[Tile, Tile]]
    title: str


def choose_near_duplicates(
    near_duplicates: pd.DataFrame,
    queries: pd.DataFrame,
    class_of: Mapping[str, str],
    *,
    model: str,
    most: int,
    cosine: float,
    bits: int,
) -> NearDuplicatePairs:
    """Return at most `most` pairs of NEAR_DUPLICATES, fewest bits and then highest cosine first.

    Two images that find each other are one pair.

    queries: QUERIES. class_of: image_id -> the names of its classes. cosine, bits:
    `evaluate.near_duplicate`.
    """
    order = near_duplicates.sort_values(
        ["bits", "cosine", "image_id"], ascending=[True, False, True]
    )
    pairs: dict[frozenset[str], tuple[Tile, Tile]] = {}
    for row in order.itertuples():
        pairs.setdefault(frozenset((str(row.image_id), str(row.top_hit))), _pair(row, class_of))
    limits = f"cosine at least {cosine:g}, hashes at most {bits} of 64 bits apart, similar colors"
    title = _title(near_duplicates, queries, model=model, limits=limits)
    if len(pairs) > most:
        title += f" Of {len(pairs):,} pairs, the {most} most alike are shown."
    return NearDuplicatePairs(list(pairs.values())[:most], title)


def draw_near_duplicate_sheet(
    shown: NearDuplicatePairs, read_image: ReadImage, *, columns: int, size: int = TILE
) -> Image.Image:
    """Return the sheet as one RGB image, `columns` pairs a row; without pairs the title alone.

    size: pixels; each image is fitted into a square of this side.
    """
    across = max(2, min(columns, len(shown.pairs)))
    width = 2 * MARGIN + across * _pair_width(size) + (across - 1) * BREAK
    lines = wrap_title(shown.title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (12 if shown.pairs else 0)
    step = box(size) + CAPTION + GAP
    rows = -(-len(shown.pairs) // across)
    sheet = Image.new("RGB", (width, top + rows * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    for number, pair in enumerate(shown.pairs):
        row, column = divmod(number, across)
        x, y = MARGIN + column * (_pair_width(size) + BREAK), top + row * step
        for tile in pair:
            draw_tile(sheet, tile, read_image, x=x, y=y, size=size)
            x += box(size) + TOUCH
    return sheet


def _title(near_duplicates: pd.DataFrame, queries: pd.DataFrame, *, model: str, limits: str) -> str:
    """Return how many queries are label noise, and recall@1 with and without them."""
    measured = queries[queries["positives"] > 0]
    if measured.empty:
        return f"No label noise of {model}: nothing was measured, as no image can be a query."
    others = measured[~measured["image_id"].isin(near_duplicates["image_id"])]
    total = count(len(measured), "query", "queries")
    recall, without = ((table["first_hit_rank"] == 1).mean() for table in (measured, others))
    wrong = f"a near-duplicate under another label ({limits}) at rank 1"
    if not len(near_duplicates):
        return f"No label noise of {model}: none of {total} has {wrong}. Recall@1 is {recall:.3f}."
    number = len(near_duplicates)
    verb, them = ("has", "it") if number == 1 else ("have", "them")
    title = f"Label noise of {model}: {number:,} of {total} {verb} {wrong}. "
    title += f"Recall@1 is {recall:.3f}"
    return f"{title}, and would be {without:.3f} without {them}." if len(others) else f"{title}."


def _pair_width(size: int) -> int:
    return 2 * box(size) + TOUCH


def _pair(row: Any, class_of: Mapping[str, str]) -> tuple[Tile, Tile]:
    query, hit = str(row.image_id), str(row.top_hit)
    bits = count(int(row.bits), "bit", "bits")
    return (
        Tile(query, class_of[query], f"hit at {int(row.first_hit_rank)}", INK),
        Tile(hit, class_of[hit], f"✗ {row.cosine:.3f}, {bits}", WRONG),
    )
