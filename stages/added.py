"""Pack images without labels, which are only searched: data/added."""

import logging
import os
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.datasets.added import read_added
from pipeline.datasets.class_folders import count_unread_images, describe_unread
from pipeline.datasets.parquet_images import PARQUET
from pipeline.packing.packing import AddedOutputs, pack_added
from pipeline.packing.sources import open_source
from pipeline.packing.storing import Making
from stages.cluster import open_workers
from stages.maker import fingerprint_maker
from stages.project_root import project_root
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    source: Annotated[
        Path, Option(help="folder, archive or Parquet file of images, of which there may be none")
    ],
    images: Annotated[Path, Option(help="directory of packed images to write")],
    catalog: Annotated[Path, Option(help="table of images to write")],
    rejected: Annotated[Path, Option(help="CSV of images left out, to write")],
    kept: Annotated[Path, Option(help="directory of images that the next run does not make again")],
) -> None:
    params = load()
    downloads = project_root() / "downloads"
    with (
        open_source(
            source, {}, downloads=downloads, option="added.source", also=PARQUET
        ) as images_in,
        open_workers(params, images.parent, processes=os.cpu_count() or 1) as workers,
    ):
        pack_added(
            read_added(images_in),
            AddedOutputs(images, catalog, rejected),
            making=Making(params.download.max_side, fingerprint_maker("added", params.bits)),
            buckets=params.data.buckets,
            kept=kept,
            workers=workers,
        )
        if images_in.is_dir() and (unread := count_unread_images(images_in)):
            logger.warning(describe_unread(unread))


if __name__ == "__main__":
    run(main, "added")
