"""Bring a dataset, check every image of it, and pack it: data/images, catalog and classes."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.datasets import DATASETS
from pipeline.datasets.class_folders import SUFFIXES
from pipeline.datasets.counts import check_counts
from pipeline.datasets.source_image import NoImagesError
from pipeline.datasets.subset import sample_subset
from pipeline.packing.packing import Outputs, pack
from pipeline.packing.sources import open_source
from stages.mlflow_run import project_root
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    source: Annotated[Path, Option(help="folder or archive of images")],
    images: Annotated[Path, Option(help="directory of shards to write")],
    catalog: Annotated[Path, Option(help="table of images to write")],
    classes: Annotated[Path, Option(help="table of classes to write")],
    rejected: Annotated[Path, Option(help="CSV of images left out, to write")],
) -> None:
    params = load()
    data, options = params.data, params.data.options
    dataset = DATASETS[data.name]
    # What an experiment fetches serves the next one too, so it lies in the project, not in the
    # experiment's copy of it.
    root = project_root()
    archives = dataset.archives(options) if hasattr(dataset, "archives") else {}
    files = dataset.files(options) if hasattr(dataset, "files") else {}
    where = f"data.{data.name}, as fetched" if archives or files else str(source)
    with open_source(source, archives, downloads=root / "downloads", files=files) as folder:
        try:
            found = dataset.read_images(folder, options, seed=params.seed)
            if hasattr(dataset, "COUNTS"):
                found = check_counts(found, dataset.COUNTS, where=where)
            unlabelled = pack(
                sample_subset(found, options.get("max_images"), seed=params.seed),
                Outputs(images=images, catalog=catalog, classes=classes, rejected=rejected),
                max_side=params.download.max_side,
                max_rejected=params.download.max_rejected,
                processes=os.cpu_count() or 1,
            )
        except NoImagesError as error:
            in_copy = root.resolve() != Path.cwd()
            if folder != source or source.is_absolute() or not in_copy:
                raise
            raise NoImagesError(
                f"{error}; a queued experiment sees only what is in git or DVC, so there "
                "data.source is to be an absolute path"
            ) from None
        if unlabelled:
            logger.info("left out %d images without a label", unlabelled)
        if hasattr(dataset, "passed_over"):
            _log_passed_over(dataset.passed_over(folder, options))


def _log_passed_over(numbers: Mapping[str, int]) -> None:
    if numbers:
        found = ", ".join(f"{numbers[suffix]} {suffix}" for suffix in sorted(numbers))
        allowed = ", ".join(sorted(SUFFIXES))
        logger.warning("passed over %s; read are %s; convert them", found, allowed)


if __name__ == "__main__":
    run(main, "download")
