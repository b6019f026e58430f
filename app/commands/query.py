"""Photos from the world asked of an index: printed, drawn on sheets, and kept as a table."""

import sys
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
from app.searching.query_sheets import MOST_ROWS, PhotoNeighbors, draw_sheets
from app.searching.untrusted_images import expect_large_photos, find_photos, read_photo, show_name
from pipeline.data.tables import PHOTO_NEIGHBORS
from pipeline.errors import UserError, name_choices

WIDEST_NAMES = 48


@dataclass(frozen=True)
class Times:
    """Milliseconds that one photo took."""

    read: float
    embed: float
    search: float


def ask(root: Path, photos: Sequence[Path], *, model: str, k: int, crop: str, out: Path) -> bool:
    """Print the k answers to each of `photos` and write sheets and answers.parquet to `out`.

    A photo that cannot be read is told in one line on stderr, and the others go on. Return whether
    all could be; without any, nothing is written.

    Raises:
        UserError: nothing can be searched, as `find_photos`, `Catalog` and `ModelIndex` tell; `out`
            holds a file that no earlier query wrote.
    """
    if crop not in CROPS:
        raise UserError(f"--crop: {name_choices(crop, CROPS)}")
    expect_large_photos()
    paths = find_photos(photos)
    folder = OutputFolder(out, kind=PHOTO_NEIGHBORS, what="query", sheets=["sheet*.png"])
    catalog, model_index = Catalog(root), ModelIndex(root, model)
    started = time.time() - psutil.Process().create_time()
    times: list[Times] = []
    rows: list[dict[str, object]] = []
    with folder.writing() as results:
        each = _ask_each(paths, model_index, catalog, k, crop, times)
        while some := list(islice(each, MOST_ROWS)):
            rows += [row for asked in some for row in _rows(asked, catalog)]
            for sheet in draw_sheets(some, catalog, first=len(times) - len(some) + 1, model=model):
                results.add_sheet(sheet)
        if times:
            results.add_table(_table(rows))
    print(_tell_times(started, times))
    if times:
        print(f"wrote {', '.join(str(path) for path in results.written)}")
    return len(times) == len(paths)


def _ask_each(
    paths: Sequence[Path],
    model_index: ModelIndex,
    catalog: Catalog,
    k: int,
    crop: str,
    times: list[Times],
) -> Iterator[PhotoNeighbors]:
    """Print and yield the answers to each photo that can be read, and note how long it took."""
    for path in paths:
        before = time.perf_counter()
        try:
            image = read_photo(path)
        except UserError as error:
            print(f"lookalike: {error}", file=sys.stderr, flush=True)
            continue
        read = time.perf_counter()
        vector = model_index.embed(image, crop=crop)
        embedded = time.perf_counter()
        answers = model_index.find(vector, k)
        ended = time.perf_counter()
        times.append(
            Times(1e3 * (read - before), 1e3 * (embedded - read), 1e3 * (ended - embedded))
        )
        print(f"{show_name(str(path))}\n{tabulate(answers, catalog)}\n", flush=True)
        yield PhotoNeighbors(path, image, answers)


def tabulate(answers: Sequence[Neighbor], catalog: Catalog) -> str:
    """Return a line for each answer: rank, score, names of its classes, image_id; aligned."""
    names = [_shorten(", ".join(catalog.names(answer.image_id))) for answer in answers]
    scores = [f"{answer.score:.4f}" for answer in answers]
    wide, widest = (max(map(len, texts), default=0) for texts in (scores, names))
    return "\n".join(
        f"{rank:4}  {score:>{wide}}  {name:{widest}}  {answer.image_id}"
        for rank, (answer, score, name) in enumerate(zip(answers, scores, names, strict=True), 1)
    )


def _shorten(text: str) -> str:
    return text if len(text) <= WIDEST_NAMES else f"{text[: WIDEST_NAMES - 1]}…"


def _rows(asked: PhotoNeighbors, catalog: Catalog) -> list[dict[str, object]]:
    return [
        {
            "photo": show_name(str(asked.path)),
            "rank": rank,
            "image_id": answer.image_id,
            "names": catalog.names(answer.image_id),
            "score": answer.score,
        }
        for rank, answer in enumerate(asked.answers, start=1)
    ]


def _table(rows: Sequence[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema(PHOTO_NEIGHBORS.columns))


def _tell_times(started: float, times: Sequence[Times]) -> str:
    told = f"start-up {started:.1f} s; {len(times)} photo{'' if len(times) == 1 else 's'}"
    if not times:
        return told
    read, embed, search = (
        median(getattr(each, part) for each in times) for part in ("read", "embed", "search")
    )
    each = "" if len(times) == 1 else " each (median)"
    return (
        f"{told}: {read:.1f} ms to read, {embed:.1f} ms to embed, {search:.1f} ms to search{each}"
    )
