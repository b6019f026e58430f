"""Sheets of duplicates: the images of each group side by side, with their classes and splits."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from PIL import Image

from pipeline.figures.palette import FAINT, WRONG
from pipeline.figures.sheet_tiles import (
    BACKGROUND,
    CAPTION,
    GAP,
    MARGIN,
    TITLE_LINE,
    ReadImage,
    Tile,
    box,
    draw_tile,
    draw_title,
    wrap_title,
)
from pipeline.health.findings import DuplicateGroup

BREAK = 26  # between two groups
COLUMNS = 8  # images a row
SHOWN = 4  # images of one group
SIZE = 144  # pixels of an image
ON_A_SHEET = 24  # groups


def draw_first_groups(
    groups: Sequence[DuplicateGroup],
    read_image: ReadImage,
    *,
    class_of: Mapping[str, str],
    splits: pa.Table,
    first: int = 1,
) -> Image.Image:
    """Return a sheet of ON_A_SHEET groups at most, of which the title says which they are.

    first: the number of the first group shown, from 1. splits: SPLITS.
    """
    shown = groups[first - 1 : first - 1 + ON_A_SHEET]
    split_of = dict(zip(splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True))
    title = f"Groups of duplicates, {first} to {first + len(shown) - 1} of {len(groups):,}"
    return draw_duplicate_sheet(title, shown, read_image, class_of=class_of, split_of=split_of)


def draw_duplicate_sheet(
    title: str,
    groups: Sequence[DuplicateGroup],
    read_image: ReadImage,
    *,
    class_of: Mapping[str, str],
    split_of: Mapping[str, str],
) -> Image.Image:
    """Return the sheet as one RGB image: of each group the first four, as many groups as given.

    A red frame is that of a group across classes or splits. class_of: image_id -> the names of its
    classes. split_of: image_id -> its split.
    """
    rows = _arrange(groups)
    width = 2 * MARGIN + COLUMNS * box(SIZE) + (COLUMNS // 2 - 1) * BREAK
    lines = wrap_title(title, width)
    top, step = MARGIN + len(lines) * TITLE_LINE + GAP, box(SIZE) + CAPTION + GAP
    sheet = Image.new("RGB", (width, top + len(rows) * step + MARGIN), BACKGROUND)
    draw_title(sheet, lines)
    for number, row in enumerate(rows):
        x = MARGIN
        for group in row:
            frame = WRONG if group.across_classes or group.across_splits else FAINT
            for image_id in group.image_ids[:SHOWN]:
                note = f"{group.kind}, {split_of[image_id]}"
                tile = Tile(image_id, class_of[image_id], note, frame)
                draw_tile(sheet, tile, read_image, x=x, y=top + number * step, size=SIZE)
                x += box(SIZE)
            x += BREAK
    return sheet


def _arrange(groups: Sequence[DuplicateGroup]) -> list[list[DuplicateGroup]]:
    """Return the groups in rows of at most COLUMNS images."""
    rows: list[list[DuplicateGroup]] = []
    left = 0
    for group in groups:
        count = min(len(group.image_ids), SHOWN)
        if count > left:
            rows.append([])
            left = COLUMNS
        rows[-1].append(group)
        left -= count
    return rows
