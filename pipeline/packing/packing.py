"""Pack a dataset: read and decode each image once, store it in its bucket, write the tables."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pipeline.data.buckets import choose_count
from pipeline.data.class_names import name_some
from pipeline.data.files import unfinished_in, written_whole
from pipeline.data.image_rows import ImageColumns
from pipeline.data.packed_images import PackedImages, write_images
from pipeline.data.tables import CATALOG, CLASSES, HEALTH, write_table
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.errors import UserError
from pipeline.health.health_table import build_health_table
from pipeline.options import AUTO
from pipeline.packing.kept_images import keep_images
from pipeline.packing.packed_tables import (
    Packed,
    build_catalog,
    build_classes,
    fingerprint_dataset,
)
from pipeline.packing.rejected import check_rejected, count_reasons, write_rejected
from pipeline.packing.storing import Making, ReadImage, store_images
from pipeline.progress import show_progress
from pipeline.workers import HERE, Workers

AS_THEY_ARE = Making()
Buckets = int | Literal["auto"]
UNLABELLED = "unlabelled"  # the class of all images of a source where none has a label

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """Where `pack` writes: a folder of buckets, three tables, and the list of rejected images."""

    images: Path
    catalog: Path
    classes: Path
    rejected: Path
    health: Path


@dataclass(frozen=True)
class AddedOutputs:
    """Where `pack_added` writes: a folder of buckets, a table, and the list of rejected images."""

    images: Path
    catalog: Path
    rejected: Path


@dataclass(frozen=True)
class _PackOptions:
    """The options of `pack`."""

    making: Making
    max_rejected: float | None
    buckets: Buckets
    kept: Path | None
    workers: Workers


@dataclass(frozen=True)
class _Result:
    """What is packed, and what is not (path, reason)."""

    packed: list[Packed]
    rejected: list[tuple[str, str]]

    @property
    def stored(self) -> list[Packed]:
        """Those packed images that are not labels alone."""
        return [item for item in self.packed if item.stored is not None]


def pack(
    images: Iterable[SourceImage],
    to: Outputs,
    *,
    max_rejected: float,
    making: Making = AS_THEY_ARE,
    buckets: Buckets = AUTO,
    kept: Path | None = None,
    workers: Workers = HERE,
) -> None:
    """Write `images`, in the order of their image_ids, to the files of `to`: all files or none.

    An image that cannot be decoded is left out and listed in `to.rejected` (path, reason); how many
    for which reason is logged, and which classes have no other images. An image without `read` has
    a row in the catalog, but is not stored. Where no image has a label, all are of one class,
    UNLABELLED; otherwise those without one are left out.

    buckets: how many there are, a power of 2; auto: by the number of images. kept: a folder for the
    next run; what is in it already and comes of the same bytes and `making` is not made again.
    workers: they read and prepare the images.

    Raises:
        UserError: there are no images, two have the same image_id, or more of those to pack cannot
            be decoded than `check_rejected` allows.
    """
    everything = list(images)
    _check(sorted(everything, key=lambda image: image.id))
    wanted = [image for image in everything if image.labels] or _as_one_class(everything)
    how = _PackOptions(making, max_rejected, buckets, kept, workers)
    with written_whole(*astuple(to)) as paths:
        unfinished = Outputs(*paths)
        result = _store(wanted, unfinished.images, how)
        _write_tables(result, unfinished)
    if kept is not None:
        keep_images(kept, to.images, {item.image.id: item.source for item in result.stored})
    _warn_of_rejected(result, wanted, listed_in=to.rejected)


def pack_added(
    images: Iterable[SourceImage],
    to: AddedOutputs,
    *,
    making: Making = AS_THEY_ARE,
    buckets: Buckets = AUTO,
    kept: Path | None = None,
    workers: Workers = HERE,
) -> None:
    """Write `images` without labels, of which there may be none, to the files of `to`, as `pack`.

    Those that cannot be decoded are left out, however many they are.
    """
    wanted = list(images)
    how = _PackOptions(making, None, buckets, kept, workers)
    with written_whole(*astuple(to)) as paths:
        unfinished = AddedOutputs(*paths)
        result = _store(wanted, unfinished.images, how)
        known = _read_columns(result, unfinished.images)
        write_table(build_catalog(result.packed, known, {}), unfinished.catalog, CATALOG)
        write_rejected(result.rejected, unfinished.rejected)
    if kept is not None:
        keep_images(kept, to.images, {item.image.id: item.source for item in result.stored})
    _warn_of_rejected(result, wanted, listed_in=to.rejected)


def _check(images: Sequence[SourceImage]) -> None:
    if not images:
        raise NoImagesError(
            "data.source: found no images; allowed: the layouts in images/README.md; "
            "set data.source and data.name"
        )
    for before, after in pairwise(images):
        if before.id == after.id:
            raise UserError(
                f"data.source: two images have the image_id '{after.id}'; allowed: each "
                "once; remove one"
            )


def _as_one_class(images: Sequence[SourceImage]) -> list[SourceImage]:
    # So that no later stage has to know images without any label: with one class alone, nothing is
    # trained or measured, and all images are searched.
    logger.info("no image has a label: nothing can be trained or measured, all can be searched")
    return [replace(image, labels=(UNLABELLED,)) for image in images]


def _store(images: Sequence[SourceImage], folder: Path, how: _PackOptions) -> _Result:
    """Write the buckets of `images` to `folder`."""
    with unfinished_in(folder.parent) as rows:
        result = _read(images, rows, how)
        if how.max_rejected is not None:
            check_rejected(result.rejected, total=len(images), max_rejected=how.max_rejected)
        stored = {item.image.id: item.stored for item in result.packed if item.stored is not None}
        buckets = choose_count(len(stored)) if how.buckets == AUTO else how.buckets
        write_images(stored, folder, buckets=buckets)
    return result


def _read(images: Sequence[SourceImage], rows: Path, how: _PackOptions) -> _Result:
    """Read images in the order of their source, in which it is fast; return them by image_id."""
    found: list[tuple[SourceImage, ReadImage | None]] = []
    to_read = [image for image in images if image.read is not None]
    shown = show_progress(images, total=len(images), what="images")
    with closing(
        store_images(to_read, rows, how.making, kept=how.kept, workers=how.workers)
    ) as read_images:
        found += ((each, None if each.read is None else next(read_images)) for each in shown)
    result = _Result([], [])
    for image, read in sorted(found, key=lambda pair: pair[0].id):
        if read is None:
            result.packed.append(_labels_alone(image))
        else:
            _add(read, image, result)
    _tell_kept(result, how)
    return result


def _tell_kept(result: _Result, how: _PackOptions) -> None:
    if how.kept is None:
        return
    paths = [item.stored.path for item in result.packed if item.stored is not None]
    if count := sum(how.kept in path.parents for path in paths):
        logger.info("%d of %d images are kept", count, len(paths))


def _labels_alone(image: SourceImage) -> Packed:
    if image.size is None:
        raise ValueError(f"{image.path}: has neither a size nor anything to read")
    return Packed(image)


def _add(read: ReadImage, image: SourceImage, result: _Result) -> None:
    if read.stored is None:
        result.rejected.append((image.path, read.reason or ""))
    else:
        result.packed.append(Packed(image, read.stored, read.source))


def _warn_of_rejected(result: _Result, images: Sequence[SourceImage], *, listed_in: Path) -> None:
    if not result.rejected:
        return
    count = len(result.rejected)
    what = "image" if count == 1 else "images"
    reasons = count_reasons(result.rejected)
    logger.warning("left out %d %s (%s), listed in %s", count, what, reasons, listed_in)
    given = {name for image in images for name in image.labels}
    if lost := given - {name for item in result.packed for name in item.image.labels}:
        logger.warning("no image can be decoded of the classes %s", name_some(lost))


def _write_tables(result: _Result, to: Outputs) -> None:
    names = sorted({name for item in result.packed for name in item.image.labels})
    label_of = {name: label for label, name in enumerate(names)}
    known = _read_columns(result, to.images)
    about = fingerprint_dataset(result.packed, known)
    write_table(build_catalog(result.packed, known, label_of), to.catalog, CATALOG, metadata=about)
    write_table(build_classes(result.packed, names), to.classes, CLASSES)
    ids = [item.image.id for item in result.stored]
    write_table(build_health_table(ids, known), to.health, HEALTH)
    write_rejected(result.rejected, to.rejected)


def _read_columns(result: _Result, images: Path) -> ImageColumns:
    """Return what is known of the stored images, in their order; it is not kept in memory."""
    return PackedImages(images).read_columns([item.image.id for item in result.stored])
