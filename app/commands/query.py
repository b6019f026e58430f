"""`lookalike query`: photos searched in an index; neighbors printed, drawn and kept as a table."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import psutil
import pyarrow as pa

from app.output_folder import OutputFolder
from app.searching.catalog import Catalog
from app.searching.model_index import CROPS, ModelIndex, Neighbor
from app.searching.query_sheets import MAX_ROWS, PhotoNeighbors, draw_sheets
from app.searching.untrusted_images import (
    escape_unprintable,
    find_photos,
    ignore_pillow_size_warnings,
    read_photo,
)
from pipeline.data.tables import PHOTO_NEIGHBORS
from pipeline.errors import UserError, name_choices

MAX_CLASSES_WIDTH = 48

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """Milliseconds that one photo took."""

    read: float
    embed: float
    search: float


def query_photos(
    root: Path, photos: Sequence[Path], *, model: str, k: int, crop: str, out: Path
) -> bool:
    """Print the k neighbors of each of `photos`; write sheets and neighbors.parquet to `out`.

    A photo that cannot be read is logged in one line, and the others go on. Return whether all
    could be read; where none could, nothing is written.

    Raises:
        UserError: there is no photo, no usable catalog or index (see `Catalog` and `ModelIndex`),
            or `out` holds a file that no earlier query wrote.
    """
    if crop not in CROPS:
        raise UserError(f"--crop: {name_choices(crop, CROPS)}")
    ignore_pillow_size_warnings()
    paths = find_photos(photos)
    folder = OutputFolder(out, kind=PHOTO_NEIGHBORS, what="query", sheets=["sheet*.png"], root=root)
    catalog, model_index = Catalog(root), ModelIndex(root, model)
    start_up = time.time() - psutil.Process().create_time()
    times: list[Times] = []
    rows: list[dict[str, object]] = []
    with folder.writing() as results:
        searched = _search_photos(paths, model_index, catalog, k=k, crop=crop, times=times)
        while some := list(islice(searched, MAX_ROWS)):
            rows += [row for photo in some for row in _table_rows(photo, catalog)]
            for sheet in draw_sheets(some, catalog, first=len(times) - len(some) + 1, model=model):
                results.add_sheet(sheet)
        if times:
            schema = pa.schema(PHOTO_NEIGHBORS.columns)
            results.add_table(pa.Table.from_pylist(rows, schema=schema))
    logger.info(_format_times(start_up, times))
    if times:
        logger.info("wrote %s", ", ".join(str(path) for path in results.written))
    return len(times) == len(paths)


def _search_photos(
    paths: Sequence[Path],
    model_index: ModelIndex,
    catalog: Catalog,
    *,
    k: int,
    crop: str,
    times: list[Times],
) -> Iterator[PhotoNeighbors]:
    """Print and yield the neighbors of each photo that can be read, and append to `times`."""
    for path in paths:
        started = time.perf_counter()
        try:
            image = read_photo(path)
        except UserError as error:
            logger.warning(error)
            continue
        read = time.perf_counter()
        vector = model_index.embed(image, crop=crop)
        embedded = time.perf_counter()
        neighbors = model_index.search(vector, k)
        ended = time.perf_counter()
        times.append(
            Times(1e3 * (read - started), 1e3 * (embedded - read), 1e3 * (ended - embedded))
        )
        print(
            f"{escape_unprintable(str(path))}\n{format_neighbors(neighbors, catalog)}\n", flush=True
        )
        yield PhotoNeighbors(path, image, neighbors)


def format_neighbors(neighbors: Sequence[Neighbor], catalog: Catalog) -> str:
    """Return a line for each neighbor: rank, score, names of its classes, image_id; aligned."""
    classes = [_shorten(", ".join(catalog.classes_of(each.image_id))) for each in neighbors]
    scores = [f"{each.score:.4f}" for each in neighbors]
    score_width, class_width = (max(map(len, texts), default=0) for texts in (scores, classes))
    return "\n".join(
        f"{rank:4}  {score:>{score_width}}  {names:{class_width}}  {neighbor.image_id}"
        for rank, (neighbor, score, names) in enumerate(
            zip(neighbors, scores, classes, strict=True), 1
        )
    )


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CLASSES_WIDTH else f"{text[: MAX_CLASSES_WIDTH - 1]}…"


def _table_rows(photo: PhotoNeighbors, catalog: Catalog) -> list[dict[str, object]]:
    return [
        {
            "photo": escape_unprintable(str(photo.path)),
            "rank": rank,
            "image_id": neighbor.image_id,
            "classes": catalog.classes_of(neighbor.image_id),
            "score": neighbor.score,
        }
        for rank, neighbor in enumerate(photo.neighbors, start=1)
    ]


def _format_times(start_up: float, times: Sequence[Times]) -> str:
    text = f"start-up {start_up:.1f} s; {len(times)} photo{'' if len(times) == 1 else 's'}"
    if not times:
        return text
    read, embed, search = (
        median(getattr(each, step) for each in times) for step in ("read", "embed", "search")
    )
    each = "" if len(times) == 1 else " each (median)"
    return (
        f"{text}: {read:.1f} ms to read, {embed:.1f} ms to embed, {search:.1f} ms to search{each}"
    )
