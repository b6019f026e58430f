"""`lookalike query`: photos searched in an index; neighbors printed, drawn and kept as a table."""

import logging
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from app.output_folder import OutputFolder
from app.searching.asked_queries import AskedQuery, list_asked
from app.searching.best_model import ModelName, resolve_model
from app.searching.catalog import Catalog
from app.searching.matching import Matches, find_matches, read_match_threshold
from app.searching.model_index import CROPS, ModelIndex, Neighbor
from app.searching.query_parts import Query
from app.searching.query_sheets import MAX_ROWS, PhotoNeighbors, draw_sheets
from app.searching.training import find_trained_on
from app.searching.untrusted_images import read_photo
from pipeline.data.arrays import Mask
from pipeline.data.tables import PHOTO_NEIGHBORS
from pipeline.errors import UserError, name_choices
from pipeline.figures.fonts import glyphs_warned_once

MAX_CLASSES_WIDTH = 48
NO_LABEL = "(no label)"
TRAINED_ON = "  (trained on)"
NO_THRESHOLD = "whether a photo is of something else cannot be said: there is no match_threshold"
NO_MATCH = "perhaps not in the catalog: no score above {:.4f} (match_threshold)"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """Milliseconds that one photo took."""

    read: float
    embed: float
    search: float


@dataclass(frozen=True)
class QueryOptions:
    """model: a name, or best. only: filters, `gallery`, `class=NAME`, `group=NAME`; () for all.

    texts, other_photos, other_texts, together: as in `list_asked`.
    """

    model: str
    only: tuple[str, ...]
    k: int
    crop: str
    texts: tuple[str, ...] = ()
    other_photos: tuple[Path, ...] = ()
    other_texts: tuple[str, ...] = ()
    together: bool = False


def query_photos(root: Path, photos: Sequence[Path], options: QueryOptions, *, out: Path) -> bool:
    """Print the k neighbors of each of `photos`; write sheets and neighbors.parquet to `out`.

    A photo that cannot be read is logged in one line, and the others go on. Return whether all
    could be read; where none could, nothing is written.

    Raises:
        UserError: as `list_asked`; there is no usable catalog or index (see `Catalog` and
            `ModelIndex`), an unknown filter, a text for a model that understands none, or `out`
            holds a file that no earlier query wrote.
    """
    if options.crop not in CROPS:
        raise UserError(f"--crop: {name_choices(options.crop, CROPS)}")
    asked = list_asked(
        photos,
        texts=options.texts,
        other_photos=options.other_photos,
        other_texts=options.other_texts,
        together=options.together,
    )
    folder = OutputFolder(out, kind=PHOTO_NEIGHBORS, what="query", sheets=["sheet*.png"], root=root)
    search = _open_search(root, options, for_text=any(each.has_texts for each in asked))
    start_up = time.time() - psutil.Process().create_time()
    times: list[Times] = []
    rows: list[dict[str, object]] = []
    with folder.writing() as results, glyphs_warned_once():
        searched = search.run(asked, times)
        while some := list(islice(searched, MAX_ROWS)):
            rows += [
                row
                for found in some
                for row in _table_rows(found, search.catalog, search.trained_on)
            ]
            first, model = len(times) - len(some) + 1, search.model_index.model
            for sheet in draw_sheets(some, search.catalog, first=first, model=model):
                results.add_sheet(sheet)
        if times:
            schema = pa.schema(PHOTO_NEIGHBORS.columns)
            results.add_table(pa.Table.from_pylist(rows, schema=schema))
    logger.info(_format_times(start_up, times))
    if times:
        logger.info("wrote %s", ", ".join(str(path) for path in results.written))
    return len(times) == len(asked)


def _open_search(root: Path, options: QueryOptions, *, for_text: bool) -> "_Search":
    """Return a search in the project at `root`, and log what it searches."""
    chosen, catalog = resolve_model(root, options.model, for_text=for_text), Catalog(root)
    model_index = ModelIndex(root, chosen.name)
    search = _Search(
        options,
        catalog,
        model_index,
        mask_only(catalog, model_index, options.only),
        read_match_threshold(root, chosen.name),
        find_trained_on(root, chosen.name, catalog),
    )
    logger.info("%s", search.describe(chosen))
    if search.threshold is None:
        logger.info(NO_THRESHOLD)
    return search


def mask_only(catalog: Catalog, model_index: ModelIndex, only: Sequence[str]) -> Mask | None:
    """Return bool [N], the rows of the index that all filters allow; None without a filter.

    Raises:
        UserError: a filter is unknown, names no class or group, or no image passes all of them.
    """
    masks = []
    for text in only:
        kind, _, name = text.partition("=")
        if text == "gallery":
            masks.append(catalog.mask_gallery(model_index.ids))
        elif kind == "class" and name:
            masks.append(catalog.mask_class(name, model_index.ids))
        elif kind == "group" and name:
            masks.append(catalog.mask_group(name, model_index.ids))
        else:
            raise UserError(f"--only: found '{text}'; allowed: gallery, class=NAME, group=NAME")
    if not masks:
        return None
    allowed: Mask = np.logical_and.reduce(masks)
    if not allowed.any():
        raise UserError(f"--only: no image passes {' and '.join(only)}; allowed: filters that fit")
    return allowed


@dataclass(frozen=True)
class _Search:
    """Photos searched among the images that `allowed`, bool [N], allows; None: all.

    threshold: the score above which a result is a match; None where none was chosen. trained_on:
    the images that the model was trained on.
    """

    options: QueryOptions
    catalog: Catalog
    model_index: ModelIndex
    allowed: Mask | None
    threshold: float | None
    trained_on: Set[str]

    def describe(self, chosen: ModelName) -> str:
        """Return in a line what is searched, and by which model."""
        count = len(self.model_index.ids) if self.allowed is None else int(self.allowed.sum())
        text = f"searching {count:,} images with the model {chosen.name}"
        text = text if chosen.because is None else f"{text} ({chosen.because})"
        done = self.model_index.postprocessing
        return text if done is None else f"{text}; post-processing: {done}"

    def run(self, asked: Sequence[AskedQuery], times: list[Times]) -> Iterator[PhotoNeighbors]:
        """Print and yield the neighbors of each query that can be read, and append to `times`."""
        for each in asked:
            started, side = time.perf_counter(), self.model_index.least_side
            try:
                query = each.read(partial(read_photo, side=side))
            except UserError as error:
                logger.warning(error)
                continue
            read = time.perf_counter()
            found, embedded = self._find(query)
            ended = time.perf_counter()
            times.append(
                Times(1e3 * (read - started), 1e3 * (embedded - read), 1e3 * (ended - embedded))
            )
            text = format_neighbors(found.neighbors, self.catalog, self.trained_on)
            if found.match is False:
                text += f"\n      {NO_MATCH.format(self.threshold)}"
            print(f"{each.name}\n{text}\n", flush=True)
            shown = _show(each, query, side)
            yield PhotoNeighbors(each.name, each.short_name, shown, found.neighbors, found.match)

    def _find(self, query: Query) -> tuple[Matches, float]:
        """Return what a query finds, and when it was embedded."""
        wanted, unwanted = query.vectors(self.model_index, crop=self.options.crop)
        embedded = time.perf_counter()
        found = find_matches(
            *(self.model_index, wanted, self.options.k),
            threshold=self.threshold if query.is_one_image else None,
            allowed=self.allowed,
            unwanted=unwanted,
        )
        return found, embedded


def _show(asked: AskedQuery, query: Query, side: int) -> Image.Image | None:
    """Return the first photo of a query in its own size, which may be more than the network needs;
    None without one."""
    if not asked.photos:
        return None
    image = query.wanted.images[0]
    return read_photo(asked.photos[0]) if min(image.size) < 2 * side else image


def format_neighbors(neighbors: Sequence[Neighbor], catalog: Catalog, trained_on: Set[str]) -> str:
    """Return a line for each neighbor: rank, score, names of its classes, image_id; aligned.

    An image of `trained_on` is marked.
    """
    named = [", ".join(catalog.classes_of(each.image_id)) for each in neighbors]
    classes = [_shorten(names or NO_LABEL) for names in named]
    scores = [f"{each.score:.4f}" for each in neighbors]
    score_width, class_width = (max(map(len, texts), default=0) for texts in (scores, classes))
    return "\n".join(
        f"{rank:4}  {score:>{score_width}}  {names:{class_width}}  {neighbor.image_id}"
        f"{TRAINED_ON if neighbor.image_id in trained_on else ''}"
        for rank, (neighbor, score, names) in enumerate(
            zip(neighbors, scores, classes, strict=True), 1
        )
    )


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CLASSES_WIDTH else f"{text[: MAX_CLASSES_WIDTH - 1]}…"


def _table_rows(
    photo: PhotoNeighbors, catalog: Catalog, trained_on: Set[str]
) -> list[dict[str, object]]:
    return [
        {
            "photo": photo.name,
            "rank": rank,
            "image_id": neighbor.image_id,
            "classes": catalog.classes_of(neighbor.image_id),
            "score": neighbor.score,
            "trained_on": neighbor.image_id in trained_on,
            "match": photo.match,
        }
        for rank, neighbor in enumerate(photo.neighbors, start=1)
    ]


def _format_times(start_up: float, times: Sequence[Times]) -> str:
    text = f"start-up {start_up:.1f} s; {len(times)} quer{'y' if len(times) == 1 else 'ies'}"
    if not times:
        return text
    read, embed, search = (
        median(getattr(each, step) for each in times) for step in ("read", "embed", "search")
    )
    each = "" if len(times) == 1 else " each (median)"
    return (
        f"{text}: {read:.1f} ms to read, {embed:.1f} ms to embed, {search:.1f} ms to search{each}"
    )
