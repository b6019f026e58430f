"""Sheets of photos and what they found, as sharp as the originals allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.searching.catalog import Catalog
from app.searching.model_index import Neighbor
from app.searching.untrusted_images import show_name
from pipeline.figures.palette import INK, OTHER
from pipeline.figures.sheets import SheetRow, answer_left, draw_sheet
from pipeline.figures.tiles import CAPTION, GAP, PAPER, Tile, box

# Pixels that an image is fitted into: small ones are not blown up further, large ones shrunk.
LEAST_TILE, MOST_TILE = 160, 512
MOST_ROWS = 20
# Programs that show images get slow, or refuse, beyond such.
MOST_WIDTH = 16_000
MOST_PIXELS = 20_000_000


@dataclass(frozen=True)
class PhotoNeighbors:
    """A photo, RGB, and its answers, best first."""

    path: Path
    image: Image.Image
    answers: list[Neighbor]


def draw_sheets(
    asked: Sequence[PhotoNeighbors], catalog: Catalog, *, first: int, model: str
) -> Iterator[Image.Image]:
    """Yield the sheets of `asked`, each of so many photos as make no absurdly large image.

    first: the number of the first photo, for the titles.
    """
    columns = max(len(each.answers) for each in asked)
    size = choose_size(asked, catalog, columns=columns)
    shown = min(columns, _columns_within(MOST_WIDTH, size))
    rows = max(1, MOST_PIXELS // (answer_left(shown + 1, size) * (box(size) + CAPTION + GAP)))
    for start in range(0, len(asked), rows):
        some = asked[start : start + rows]
        numbers = f"{first + start}–{first + start + len(some) - 1}"
        title = f"{model}: what photos {numbers} look like"
        if len(some) == 1:
            title = f"{model}: what {show_name(some[0].path.name)} looks like"
        if shown < columns:
            title += f", the first {shown} of {columns} answers"
        yield _draw(title, some, catalog, columns=shown, size=size)


def choose_size(asked: Sequence[PhotoNeighbors], catalog: Catalog, *, columns: int) -> int:
    """Return the pixels of a tile: the longest side of what was found, within what is sensible."""
    sides = [max(catalog.size(answer.image_id)) for each in asked for answer in each.answers]
    size = min(max([LEAST_TILE, *sides]), MOST_TILE)
    while size > LEAST_TILE and _columns_within(MOST_WIDTH, size) < columns:
        size -= 1
    return size


def fit_tile(image: Image.Image, size: int) -> Image.Image:
    """Return an image as a square of `size`, on paper, enlarged to LEAST_TILE at most."""
    longest = max(image.size)
    inner = size if longest >= size else max(longest, min(LEAST_TILE, size))
    width, height = (max(1, round(side * inner / longest)) for side in image.size)
    fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (size, size), PAPER)
    tile.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return tile


def _columns_within(width: int, size: int) -> int:
    columns = 1
    while answer_left(columns + 2, size) <= width:
        columns += 1
    return columns


def _draw(
    title: str, asked: Sequence[PhotoNeighbors], catalog: Catalog, *, columns: int, size: int
) -> Image.Image:
    # No image_id begins so: these stand for the photos, which have none.
    photos = {f"\0{number}": each for number, each in enumerate(asked)}

    def image(image_id: str) -> Image.Image:
        photo = photos.get(image_id)
        found = catalog.images.decode(image_id) if photo is None else photo.image
        return fit_tile(found, size)

    rows = [
        SheetRow(_query_tile(key, each), [_answer_tile(a, catalog) for a in each.answers[:columns]])
        for key, each in photos.items()
    ]
    return draw_sheet(title, rows, image, size=size)


def _query_tile(key: str, asked: PhotoNeighbors) -> Tile:
    width, height = asked.image.size
    return Tile(key, show_name(asked.path.name), f"{width} × {height}", INK)


def _answer_tile(answer: Neighbor, catalog: Catalog) -> Tile:
    names = ", ".join(catalog.names(answer.image_id))
    return Tile(answer.image_id, names, f"{answer.score:.3f}", OTHER)
