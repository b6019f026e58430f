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

BREAK = 30  # between neighbouring pairs
TOUCH = 2  # between the two images of a pair


@dataclass(frozen=True)
class NearDuplicatePairs:
    """Pairs of images in the order they are shown, and what the sheet says of them."""

    pairs: list[tuple[Tile, Tile]]
    title: str


def choose_near_duplicates(
    near: pd.DataFrame,
    queries: pd.DataFrame,
    names: Mapping[str, str],
    *,
    model: str,
    most: int,
    cosine: float,
    bits: int,
) -> NearDuplicatePairs:
    """Return at most `most` pairs of NEAR_DUPLICATES, fewest bits and then highest cosine first.

    Two images that find each other are one pair.

    queries: QUERIES. names: image_id -> class name. cosine, bits: `evaluate.near_duplicate`.
    """
    order = near.sort_values(["bits", "cosine", "image_id"], ascending=[True, False, True])
    distinct: dict[frozenset[str], tuple[Tile, Tile]] = {}
    for row in order.itertuples():
        distinct.setdefault(frozenset((str(row.image_id), str(row.top_hit))), _pair(row, names))
    limits = f"cosine at least {cosine:g}, hashes at most {bits} of 64 bits apart, like colours"
    title = _tell_recall(near, queries, model=model, limits=limits)
    if len(distinct) > most:
        title += f" Of {len(distinct)} pairs, the {most} most alike are shown."
    return NearDuplicatePairs(list(distinct.values())[:most], title)


def draw_near_duplicate_sheet(
    chosen: NearDuplicatePairs, image: ReadImage, *, columns: int, size: int = TILE
) -> Image.Image:
    """Return the sheet as one RGB image, `columns` pairs a row; without pairs the title alone.

    size: pixels that each image is fitted into.
    """
    across = max(2, min(columns, len(chosen.pairs)))
    width = 2 * MARGIN + across * _pair_width(size) + (across - 1) * BREAK
    lines = wrap_title(chosen.title, width)
    top = MARGIN + len(lines) * TITLE_LINE + (12 if chosen.pairs else 0)
    step = box(size) + CAPTION + GAP
    rows = -(-len(chosen.pairs) // across)
    sheet = Image.new("RGB", (width, top + rows * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    for place, pair in enumerate(chosen.pairs):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (_pair_width(size) + BREAK), top + row * step
        for tile in pair:
            draw_tile(sheet, tile, image, x=x, y=y, size=size)
            x += box(size) + TOUCH
    return sheet


def _tell_recall(near: pd.DataFrame, queries: pd.DataFrame, *, model: str, limits: str) -> str:
    asked = queries[queries["positives"] > 0]
    left = asked[~asked["image_id"].isin(near["image_id"])]
    total = count(len(asked), "query", "queries")
    recall, would = ((each["first_hit_rank"] == 1).mean() for each in (asked, left))
    wrong = f"a near-duplicate under another label ({limits}) at rank 1"
    if not len(near):
        return (
            f"No label noise of {model}: none of {total} has {wrong}; recall@1 stays {recall:.3f}."
        )
    verb, them = ("has", "it") if len(near) == 1 else ("have", "them")
    told = (
        f"Label noise of {model}: {len(near)} of {total} {verb} {wrong}. Recall@1 is {recall:.3f}"
    )
    return f"{told}, and would be {would:.3f} without {them}." if len(left) else f"{told}."


def _pair_width(size: int) -> int:
    return 2 * box(size) + TOUCH


def _pair(row: Any, names: Mapping[str, str]) -> tuple[Tile, Tile]:
    query, hit = str(row.image_id), str(row.top_hit)
    apart = count(int(row.bits), "bit", "bits")
    return (
        Tile(query, names[query], f"hit at {int(row.first_hit_rank)}", INK),
        Tile(hit, names[hit], f"✗ {row.cosine:.3f}, {apart}", WRONG),
    )
