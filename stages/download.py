"""Bring a dataset, check every picture of it, and pack it: data/images, catalog and classes."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.datasets import DATASETS
from pipeline.packing.pack import Outputs, pack
from pipeline.packing.sources import find_source, open_source
from stages.entry import load, run


def main(
    source: Annotated[Path, Option(help="folder or archive of pictures")],
    images: Annotated[Path, Option(help="directory of shards to write")],
    catalog: Annotated[Path, Option(help="table of pictures to write")],
    classes: Annotated[Path, Option(help="table of classes to write")],
    rejected: Annotated[Path, Option(help="CSV of pictures left out, to write")],
) -> None:
    params = load()
    # In the copy that an experiment runs in, DVC_ROOT still names the project: what is fetched
    # there serves the next experiment too.
    root = Path(os.environ.get("DVC_ROOT", ""))
    data, options = params.data, params.data.options
    place = find_source(source, root=root)
    with open_source(place, options, downloads=root / "downloads") as folder:
        pack(
            DATASETS[data.name].pictures(folder, options, seed=params.seed),
            Outputs(images=images, catalog=catalog, classes=classes, rejected=rejected),
            max_side=params.download.max_side,
            max_rejected=params.download.max_rejected,
        )


if __name__ == "__main__":
    run(main, "download")
