"""Sheets of photos and their neighbors, in as much detail as the originals have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from app.searching.catalog import Catalog
from app.searching.model_index import Neighbor
from pipeline.errors import escape_unprintable
from pipeline.figures.palette import INK, OTHER
from pipeline.figures.result_sheets import ResultRow, draw_result_sheet, result_left
from pipeline.figures.sheet_tiles import CAPTION, GAP, PAPER, Tile, box

# Pixels of a tile: small images are enlarged to the first, large ones shrunk to the second.
MIN_TILE, MAX_TILE = 160, 512
MAX_ROWS = 20
# Image viewers get slow beyond these sizes, or refuse the file.
MAX_SHEET_WIDTH = 16_000
MAX_SHEET_PIXELS = 20_000_000


@dataclass(frozen=True)
class PhotoNeighbors:
    """A photo, RGB, and its neighbors, best first.

    match: whether it has a match in the catalog; None without a threshold.
    """

    path: Path
    image: Image.Image
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
            title = f"{model}: neighbors of {escape_unprintable(on_sheet[0].path.name)}"
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
        return fit_tile(catalog.images.decode(key) if photo is None else photo.image, size)

    rows = [
        ResultRow(
            _photo_tile(key, photo),
            [_neighbor_tile(neighbor, catalog) for neighbor in photo.neighbors[:columns]],
        )
        for key, photo in photo_of_key.items()
    ]
    return draw_result_sheet(title, rows, read_image, size=size)


def _photo_tile(key: str, photo: PhotoNeighbors) -> Tile:
    width, height = photo.image.size
    note = f"{width} × {height}{', no match' if photo.match is False else ''}"
    return Tile(key, escape_unprintable(photo.path.name), note, INK)


def _neighbor_tile(neighbor: Neighbor, catalog: Catalog) -> Tile:
    # An added image has no class.
    name = escape_unprintable(PurePosixPath(neighbor.image_id).name)
    caption = ", ".join(catalog.classes_of(neighbor.image_id)) or name
    return Tile(neighbor.image_id, caption, f"{neighbor.score:.3f}", OTHER)
