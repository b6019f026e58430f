"""Pack a dataset: read and decode each image once, store it in shards, write the tables."""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.data.class_names import name_some
from pipeline.data.files import written_whole
from pipeline.data.fingerprint import DatasetFingerprint
from pipeline.data.shards import ShardWriter
from pipeline.data.tables import CATALOG, CLASSES, HEALTH, Table, write_table
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.errors import UserError
from pipeline.health.health_table import build_health_table
from pipeline.health.image_facts import ImageFacts
from pipeline.packing.preparing import PreparedImage, prepare_image
from pipeline.packing.rejected import check_rejected, count_reasons, write_rejected
from pipeline.progress import show_progress
from pipeline.stopping import WorkerPool

# Images are sent to the processes in chunks. Memory holds at most about
# processes * CHUNKS_AHEAD * CHUNK encoded images.
CHUNK = 8
CHUNKS_AHEAD = 3
UNLABELLED = "unlabelled"  # the class of all images of a source where none has a label

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """Where `pack` writes: a folder of shards, three tables, and the list of rejected images."""

    images: Path
    catalog: Path
    classes: Path
    rejected: Path
    health: Path


@dataclass(frozen=True)
class _Kept:
    image: SourceImage
    width: int
    height: int
    facts: ImageFacts | None


@dataclass(frozen=True)
class _Stored:
    """What is in the shards, what is not (path, reason), and the fingerprint of what is."""

    kept: list[_Kept]
    rejected: list[tuple[str, str]]
    fingerprint: DatasetFingerprint


def pack(
    images: Iterable[SourceImage],
    to: Outputs,
    *,
    max_side: int | None,
    max_rejected: float,
    processes: int = 2,
) -> None:
    """Write `images`, in the order of their image_ids, to the files of `to`: all files or none.

    An image that cannot be decoded is left out and listed in `to.rejected` (path, reason); how many
    for which reason is logged, and which classes have no other images. An image without `read` has
    a row in the catalog, but is not stored. Where no image has a label, all are of one class,
    UNLABELLED; otherwise those without one are left out.

    Raises:
        UserError: there are no images, two have the same image_id, or more of those to pack cannot
            be decoded than `check_rejected` allows.
    """
    everything = sorted(images, key=image_id_of)
    _check(everything)
    ordered = [image for image in everything if image.labels] or _as_one_class(everything)
    with written_whole(*astuple(to)) as paths:
        unfinished = Outputs(*paths)
        stored = _store(ordered, unfinished.images, max_side=max_side, processes=processes)
        check_rejected(stored.rejected, total=len(ordered), max_rejected=max_rejected)
        _write_tables(stored, unfinished)
    _warn_of_rejected(stored, ordered, listed_in=to.rejected)


def image_id_of(image: SourceImage) -> str:
    """Return the id of `image`: its path unless one is given."""
    return image.path if image.image_id is None else image.image_id


def _check(images: Sequence[SourceImage]) -> None:
    if not images:
        raise NoImagesError(
            "data.source: found no images; allowed: the layouts in images/README.md; "
            "set data.source and data.name"
        )
    for before, after in pairwise(images):
        if image_id_of(before) == image_id_of(after):
            raise UserError(
                f"data.source: two images have the image_id '{image_id_of(after)}'; allowed: each "
                "once; remove one"
            )


def _as_one_class(images: Sequence[SourceImage]) -> list[SourceImage]:
    # So that no later stage has to know images without any label: with one class alone, nothing is
    # trained or measured, and all images are searched.
    logger.info("no image has a label: nothing can be trained or measured, all can be searched")
    return [replace(image, labels=(UNLABELLED,)) for image in images]


def _store(
    images: Sequence[SourceImage], directory: Path, *, max_side: int | None, processes: int
) -> _Stored:
    stored = _Stored([], [], DatasetFingerprint())
    writer = ShardWriter(directory)
    to_read = [image for image in images if image.read is not None]
    shown = show_progress(images, total=len(images), what="images")
    with closing(_prepare_all(to_read, max_side=max_side, processes=processes)) as ready:
        for image in shown:
            prepared = _labels_alone(image) if image.read is None else next(ready)
            if prepared.reason is not None:
                stored.rejected.append((image.path, prepared.reason))
                continue
            if image.read is not None:
                writer.add(image_id_of(image), prepared.encoded)
            stored.kept.append(_Kept(image, prepared.width, prepared.height, prepared.facts))
            stored.fingerprint.add(
                image_id_of(image),
                labels=image.labels,
                group=image.group,
                source_split=image.source_split,
                encoded=prepared.encoded,
            )
    writer.close()
    return stored


def _labels_alone(image: SourceImage) -> PreparedImage:
    if image.size is None:
        raise ValueError(f"{image.path}: has neither a size nor anything to read")
    return PreparedImage(width=image.size[0], height=image.size[1])


def _prepare_all(
    images: Iterable[SourceImage], *, max_side: int | None, processes: int
) -> Generator[PreparedImage, None, None]:
    """Yield each image prepared, in order; a bounded number of chunks is prepared at a time."""
    waiting: deque[Future[list[PreparedImage]]] = deque()
    with WorkerPool(processes) as pool:
        for chunk in _chunks(images, CHUNK):
            waiting.append(pool.submit(_prepare_chunk, chunk, max_side))
            if len(waiting) >= processes * CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _prepare_chunk(images: list[SourceImage], max_side: int | None) -> list[PreparedImage]:
    return [prepare_image(image, max_side=max_side) for image in images]


def _chunks(images: Iterable[SourceImage], size: int) -> Iterator[list[SourceImage]]:
    remaining = iter(images)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _warn_of_rejected(stored: _Stored, images: Sequence[SourceImage], *, listed_in: Path) -> None:
    if not stored.rejected:
        return
    count = len(stored.rejected)
    what = "image" if count == 1 else "images"
    reasons = count_reasons(stored.rejected)
    logger.warning("left out %d %s (%s), listed in %s", count, what, reasons, listed_in)
    given = {name for image in images for name in image.labels}
    if lost := given - {name for item in stored.kept for name in item.image.labels}:
        logger.warning("no image can be decoded of the classes %s", name_some(lost))


def _write_tables(stored: _Stored, to: Outputs) -> None:
    names = sorted({name for item in stored.kept for name in item.image.labels})
    label_of = {name: label for label, name in enumerate(names)}
    catalog, about = _catalog(stored.kept, label_of), stored.fingerprint.to_metadata()
    write_table(catalog, to.catalog, CATALOG, metadata=about)
    write_table(_classes(stored.kept, names), to.classes, CLASSES)
    write_table(build_health_table(_facts(stored.kept)), to.health, HEALTH)
    write_rejected(stored.rejected, to.rejected)


def _facts(kept: Sequence[_Kept]) -> dict[str, ImageFacts]:
    return {image_id_of(item.image): item.facts for item in kept if item.facts is not None}


def _catalog(kept: Sequence[_Kept], label_of: Mapping[str, int]) -> pa.Table:
    rows = {
        "image_id": [image_id_of(item.image) for item in kept],
        "labels": [sorted({label_of[name] for name in item.image.labels}) for item in kept],
        "group": [item.image.group for item in kept],
        "source_split": [item.image.source_split for item in kept],
        "path": [item.image.path for item in kept],
        "width": [item.width for item in kept],
        "height": [item.height for item in kept],
    }
    return _table(rows, CATALOG)


def _classes(kept: Sequence[_Kept], names: Sequence[str]) -> pa.Table:
    groups: dict[str, set[str | None]] = {name: set() for name in names}
    for item in kept:
        # The group of an image with several classes is the group of one of them, unknown which.
        if len(set(item.image.labels)) == 1:
            groups[item.image.labels[0]].add(item.image.group)
    # A class whose images are of several groups has no group.
    group_of = [next(iter(groups[name])) if len(groups[name]) == 1 else None for name in names]
    rows = {"label": list(range(len(names))), "name": list(names), "group": group_of}
    return _table(rows, CLASSES)


def _table(rows: Mapping[str, Any], kind: Table) -> pa.Table:
    columns = {field.name: pa.array(rows[field.name], field.type) for field in kind.columns}
    return pa.table(columns, schema=pa.schema(kind.columns))
