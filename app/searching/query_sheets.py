"""Sheets of photos and their neighbors, in as much detail as the originals have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image, ImageDraw

from app.searching.catalog import Catalog
from app.searching.model_index import Neighbor
from pipeline.errors import escape_unprintable
from pipeline.figures.fonts import SheetFont
from pipeline.figures.palette import INK, OTHER
from pipeline.figures.result_sheets import ResultRow, draw_result_sheet, result_left
from pipeline.figures.sheet_tiles import CAPTION, GAP, PAPER, Tile, box, wrap

# Pixels of a tile: small images are enlarged to the first, large ones shrunk to the second.
MIN_TILE, MAX_TILE = 160, 512
MAX_ROWS = 20
WORDS = 16  # pixels of the letters of a text that is searched
# Image viewers get slow beyond these sizes, or refuse the file.
MAX_SHEET_WIDTH = 16_000
MAX_SHEET_PIXELS = 20_000_000


@dataclass(frozen=True)
class PhotoNeighbors:
    """A query and its neighbors, best first.

    name: of the photo, or of all parts of the query. shown: as `name`, but short. image: RGB; None
    for texts alone. match: whether it has a match in the catalog; None without a threshold.
    """

    name: str
    shown: str
    image: Image.Image | None
    neighbors: list[Neighbor]
    match: bool | None = None


def draw_sheets(
    photos: Sequence[PhotoNeighbors], catalog: Catalog, *, first: int, model: str
) -> Iterator[Image.Image]:
    """Yield sheets of `photos`, a row for each, each sheet of as many as MAX_SHEET_PIXELS allows.

    first: the number of the first photo, for the titles.
    """
    columns = max(len(photo.neighbors) for photo in photos)
    size = choose_size(photos, catalog, columns=columns)
    shown = min(columns, _count_columns(MAX_SHEET_WIDTH, size))
    rows = max(1, MAX_SHEET_PIXELS // (result_left(shown + 1, size) * (box(size) + CAPTION + GAP)))
    for start in range(0, len(photos), rows):
        on_sheet = photos[start : start + rows]
        numbers = f"{first + start}–{first + start + len(on_sheet) - 1}"
        title = f"{model}: neighbors of photos {numbers}"
        if len(on_sheet) == 1:
            title = f"{model}: neighbors of {on_sheet[0].shown}"
        if shown < columns:
            title += f", the first {shown} of {columns}"
        yield _draw(title, on_sheet, catalog, columns=shown, size=size)


def choose_size(photos: Sequence[PhotoNeighbors], catalog: Catalog, *, columns: int) -> int:
    """Return the pixels of a tile: the longest side of the neighbors, within all limits."""
    sides = [max(catalog.size_of(each.image_id)) for photo in photos for each in photo.neighbors]
    size = min(max([MIN_TILE, *sides]), MAX_TILE)
    while size > MIN_TILE and _count_columns(MAX_SHEET_WIDTH, size) < columns:
        size -= 1
    return size


def fit_tile(image: Image.Image, size: int) -> Image.Image:
    """Return an image as a square of `size` with a plain margin, enlarged to MIN_TILE at most."""
    longest = max(image.size)
    inner = size if longest >= size else max(longest, min(MIN_TILE, size))
    width, height = (max(1, round(side * inner / longest)) for side in image.size)
    fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (size, size), PAPER)
    tile.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return tile


def draw_words(text: str, size: int) -> Image.Image:
    """Return a square tile of `size` pixels with a text in its middle."""
    font, line = SheetFont(WORDS, bold=True), WORDS + 6
    tile = Image.new("RGB", (size, size), PAPER)
    lines = wrap(text, font, size - 2 * GAP)[: (size - 2 * GAP) // line]
    top = (size - line * len(lines)) // 2
    for number, words in enumerate(lines):
        left = int(size - font.getlength(words)) // 2
        font.draw(ImageDraw.Draw(tile), (left, top + number * line), words, INK)
    return tile


def _count_columns(width: int, size: int) -> int:
    """Return how many neighbors fit beside the photo on a sheet of `width` pixels; at least 1."""
    columns = 1
    while result_left(columns + 2, size) <= width:
        columns += 1
    return columns


def _draw(
    title: str, photos: Sequence[PhotoNeighbors], catalog: Catalog, *, columns: int, size: int
) -> Image.Image:
    # Photos have no image_id; no image_id begins with this character.
    photo_of_key = {f"\0{number}": photo for number, photo in enumerate(photos)}

    def read_image(key: str) -> Image.Image:
        photo = photo_of_key.get(key)
        if photo is not None and photo.image is None:
            return draw_words(photo.shown, size)
        image = photo.image if photo and photo.image else catalog.images.decode(key)
        return fit_tile(image, size)

    rows = [
        ResultRow(
            _photo_tile(key, photo),
            [_neighbor_tile(neighbor, catalog) for neighbor in photo.neighbors[:columns]],
        )
        for key, photo in photo_of_key.items()
    ]
    return draw_result_sheet(title, rows, read_image, size=size)


def _photo_tile(key: str, photo: PhotoNeighbors) -> Tile:
    width, height = (0, 0) if photo.image is None else photo.image.size
    size = "text" if photo.image is None else f"{width} × {height}"
    note = f"{size}{', no match' if photo.match is False else ''}"
    return Tile(key, photo.shown, note, INK)


def _neighbor_tile(neighbor: Neighbor, catalog: Catalog) -> Tile:
    name = escape_unprintable(PurePosixPath(neighbor.image_id).name)
    score = f"{neighbor.score:.3f}"
    classes = ", ".join(catalog.classes_of(neighbor.image_id))
    if not classes:  # as an added image has none
        return Tile(neighbor.image_id, name, score, OTHER)
    return Tile(neighbor.image_id, classes, f"{score} {name}", OTHER)
