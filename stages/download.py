"""Read or fetch a dataset, check each image, and pack it: data/images, catalog and classes."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.data.tables import CATALOG, HEALTH, read_table
from pipeline.datasets import DATASETS
from pipeline.datasets.class_folders import describe_unread
from pipeline.datasets.counts import check_counts
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.subset import SubsetOptions, sample_subset
from pipeline.health.findings import find_in_images
from pipeline.packing.overrides import apply_overrides
from pipeline.packing.packing import Outputs, pack
from pipeline.packing.sources import open_source
from pipeline.packing.storing import Making
from stages.cluster import open_workers
from stages.maker import fingerprint_maker
from stages.project_root import project_root
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    source: Annotated[Path, Option(help="folder or archive of images")],
    overrides: Annotated[Path, Option(help="CSV of images to drop or relabel")],
    images: Annotated[Path, Option(help="directory of packed images to write")],
    catalog: Annotated[Path, Option(help="table of images to write")],
    classes: Annotated[Path, Option(help="table of classes to write")],
    rejected: Annotated[Path, Option(help="CSV of images left out, to write")],
    health: Annotated[Path, Option(help="table of what the pixels tell, to write")],
    kept: Annotated[Path, Option(help="directory of images that the next run does not make again")],
) -> None:
    params = load()
    data, options = params.data, params.data.options
    dataset = DATASETS[data.name]
    # Downloads are kept in the project, not in an experiment's copy of it, so that the next
    # experiment uses them too.
    root = project_root()
    archives, files = dataset.archives(options), dataset.files(options)
    where = f"data.{data.name}, as fetched" if archives or files else str(source)
    with open_source(source, archives, downloads=root / "downloads", files=files) as folder:
        try:
            found: Iterable[SourceImage] = dataset.read_images(folder, options, params.seed)
            if dataset.counts is not None:
                found = check_counts(found, dataset.counts, where=where)
            found = apply_overrides(found, overrides)
            dataset.tell_unlabelled(found, where)
            if isinstance(options, SubsetOptions):
                found = sample_subset(found, options.max_images, seed=params.seed)
            making = Making(params.download.max_side, fingerprint_maker("download", params.bits))
            with open_workers(params, images.parent, processes=os.cpu_count() or 1) as workers:
                pack(
                    found,
                    Outputs(images, catalog, classes, rejected, health),
                    making=making,
                    max_rejected=params.download.max_rejected,
                    buckets=params.data.buckets,
                    kept=kept,
                    workers=workers,
                )
        except NoImagesError as error:
            in_copy = root.resolve() != Path.cwd()
            if folder != source or source.is_absolute() or not in_copy:
                raise
            raise NoImagesError(
                f"{error}; a queued experiment sees only what is in git or DVC, so set "
                "data.source to an absolute path"
            ) from None
        if unread := dataset.count_unread(folder, options):
            logger.warning(describe_unread(unread))
    for finding in find_in_images(read_table(health, HEALTH), read_table(catalog, CATALOG)):
        if finding.groups:
            logger.warning(finding.describe())


if __name__ == "__main__":
    run(main, "download")
