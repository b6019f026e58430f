"""One image of a sheet with its frame and its caption, and the text that sheets are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.data.files import written_whole
from pipeline.figures.palette import FAINT, INK, font_path

TILE = 128  # pixels that an image is fitted into, whatever its own size
FRAME = 5
GAP = 10  # between neighbouring tiles
MARGIN = 16
LINE = 15  # of a caption
CAPTION = 2 * LINE + 4
TITLE_LINE = 21
BACKGROUND = "#ffffff"
PAPER = "#eef0f3"  # behind an image that is not square

# image_id -> RGB image of any size.
ReadImage = Callable[[str], Image.Image]


@dataclass(frozen=True)
class Tile:
    """One image of a sheet: what stands below it, and the colour of its frame."""

    image_id: str
    name: str
    note: str
    frame: str


def box(size: int) -> int:
    """Return the side, in pixels, of a tile of `size` with its frame."""
    return size + 2 * FRAME


def draw_tile(
    sheet: Image.Image, tile: Tile, image: ReadImage, *, x: int, y: int, size: int = TILE
) -> None:
    """Draw a tile with its upper left corner at (x, y), box(size) square, its caption below."""
    draw = ImageDraw.Draw(sheet)
    side = box(size)
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=tile.frame)
    fitted = ImageOps.pad(image(tile.image_id), (size, size), Image.Resampling.LANCZOS, PAPER)
    sheet.paste(fitted, (x + FRAME, y + FRAME))
    bold, plain = font(12, bold=tile.frame == INK), font(12)
    draw.text((x, y + side + 2), truncate(tile.name, bold, side), INK, bold)
    draw.text((x, y + side + 2 + LINE), truncate(tile.note, plain, side), FAINT, plain)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG; creates the folder."""
    with written_whole(path) as (unfinished,):
        sheet.save(unfinished, "PNG")


def draw_title(sheet: Image.Image, lines: list[str]) -> None:
    """Draw the lines of a title, of `wrap_title`, at the head of a sheet."""
    draw = ImageDraw.Draw(sheet)
    for place, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + TITLE_LINE * place), line, INK, font(15, bold=True))


def wrap_title(title: str, width: int) -> list[str]:
    """Return a title in lines that fit a sheet of `width` pixels."""
    return wrap(title, font(15, bold=True), width - 2 * MARGIN)


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


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font of sheets, `size` pixels high."""
    # Basic layout: the complex one depends on a system library, and would differ by machine.
    return ImageFont.truetype(font_path(bold=bold), size, layout_engine=ImageFont.Layout.BASIC)
