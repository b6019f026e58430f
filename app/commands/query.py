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

from app.output_folder import ResultFolder
from app.searching.catalog import Library
from app.searching.model_index import CROPS, Answer, Finder
from app.searching.query_sheets import MOST_ROWS, AnsweredPhoto, draw_sheets
from app.searching.untrusted_images import expect_large_photos, find_photos, read_photo, show_name
from pipeline.data.tables import ANSWERS
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
        UserError: nothing can be asked, as `find_photos`, `Library` and `Finder` tell; `out` holds
            a file that no earlier query wrote.
    """
    if crop not in CROPS:
        raise UserError(f"--crop: {name_choices(crop, CROPS)}")
    expect_large_photos()
    paths = find_photos(photos)
    folder = ResultFolder(out, kind=ANSWERS, what="query", sheets=["sheet*.png"])
    library, finder = Library(root), Finder(root, model)
    started = time.time() - psutil.Process().create_time()
    times: list[Times] = []
    rows: list[dict[str, object]] = []
    with folder.writing() as results:
        each = _ask_each(paths, finder, library, k, crop, times)
        while some := list(islice(each, MOST_ROWS)):
            rows += [row for asked in some for row in _rows(asked, library)]
            for sheet in draw_sheets(some, library, first=len(times) - len(some) + 1, model=model):
                results.add_sheet(sheet)
        if times:
            results.add_table(_table(rows))
    print(_tell_times(started, times))
    if times:
        print(f"wrote {', '.join(str(path) for path in results.written)}")
    return len(times) == len(paths)


def _ask_each(
    paths: Sequence[Path], finder: Finder, library: Library, k: int, crop: str, times: list[Times]
) -> Iterator[AnsweredPhoto]:
    """Print and yield the answers to each photo that can be read, and note how long it took."""
    for path in paths:
        before = time.perf_counter()
        try:
            picture = read_photo(path)
        except UserError as error:
            print(f"lookalike: {error}", file=sys.stderr, flush=True)
            continue
        read = time.perf_counter()
        vector = finder.embed(picture, crop=crop)
        embedded = time.perf_counter()
        answers = finder.find(vector, k)
        ended = time.perf_counter()
        times.append(
            Times(1e3 * (read - before), 1e3 * (embedded - read), 1e3 * (ended - embedded))
        )
        print(f"{show_name(str(path))}\n{tabulate(answers, library)}\n", flush=True)
        yield AnsweredPhoto(path, picture, answers)


def tabulate(answers: Sequence[Answer], library: Library) -> str:
    """Return a line for each answer: rank, score, names of its classes, image_id; aligned."""
    names = [_shorten(", ".join(library.names(answer.image_id))) for answer in answers]
    scores = [f"{answer.score:.4f}" for answer in answers]
    wide, widest = (max(map(len, texts), default=0) for texts in (scores, names))
    return "\n".join(
        f"{rank:4}  {score:>{wide}}  {name:{widest}}  {answer.image_id}"
        for rank, (answer, score, name) in enumerate(zip(answers, scores, names, strict=True), 1)
    )


def _shorten(text: str) -> str:
    return text if len(text) <= WIDEST_NAMES else f"{text[: WIDEST_NAMES - 1]}…"


def _rows(asked: AnsweredPhoto, library: Library) -> list[dict[str, object]]:
    return [
        {
            "photo": show_name(str(asked.path)),
            "rank": rank,
            "image_id": answer.image_id,
            "names": library.names(answer.image_id),
            "score": answer.score,
        }
        for rank, answer in enumerate(asked.answers, start=1)
    ]


def _table(rows: Sequence[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema(ANSWERS.columns))


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
