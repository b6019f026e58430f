"""What sheets are made of: an image with its frame and caption, titles, and how text is fitted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from pipeline.data.files import written_whole
from pipeline.figures.fonts import SheetFont
from pipeline.figures.palette import FAINT, INK

TILE = 128  # pixels; an image of any size is fitted into a square of this side
FRAME = 5
GAP = 10  # between tiles
MARGIN = 16
LINE = 15  # height of a line of a caption
CAPTION = 2 * LINE + 4
TITLE_LINE = 21
BACKGROUND = "#ffffff"
PAPER = "#eef0f3"  # fills the square around an image that is not square

# image_id -> RGB image of any size.
ReadImage = Callable[[str], Image.Image]


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, the two lines below it, and the color of its frame."""

    image_id: str
    name: str
    note: str
    frame: str


def box(size: int) -> int:
    """Return the side, in pixels, of a tile of `size` with its frame."""
    return size + 2 * FRAME


def draw_tile(
    sheet: Image.Image, tile: Tile, read_image: ReadImage, *, x: int, y: int, size: int = TILE
) -> None:
    """Draw a tile, box(size) square, with its upper left corner at (x, y), and its caption."""
    draw = ImageDraw.Draw(sheet)
    side = box(size)
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=tile.frame)
    fitted = ImageOps.pad(read_image(tile.image_id), (size, size), Image.Resampling.LANCZOS, PAPER)
    sheet.paste(fitted, (x + FRAME, y + FRAME))
    bold, plain = SheetFont(12, bold=tile.frame == INK), SheetFont(12)
    bold.draw(draw, (x, y + side + 2), truncate(tile.name, bold, side), INK)
    plain.draw(draw, (x, y + side + 2 + LINE), truncate(tile.note, plain, side), FAINT)


def draw_title(sheet: Image.Image, lines: list[str]) -> None:
    """Draw the lines of a title, from `wrap_title`, at the top of a sheet."""
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        SheetFont(15, bold=True).draw(draw, (MARGIN, MARGIN + TITLE_LINE * number), line, INK)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG; creates the folder."""
    with written_whole(path) as (unfinished,):
        sheet.save(unfinished, "PNG")


def wrap_title(title: str, width: int) -> list[str]:
    """Return a title as lines that fit a sheet of `width` pixels."""
    return wrap(title, SheetFont(15, bold=True), width - 2 * MARGIN)


def truncate(text: str, font: SheetFont, width: int) -> str:
    """Return `text`, shortened with an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text.rstrip() + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, font: SheetFont, width: int) -> list[str]:
    """Return `text` as lines of at most `width` pixels; a longer word is truncated."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(truncate(word, font, width))
    return lines
