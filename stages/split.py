"""Split the dataset into train, validation and test, query and gallery: data/splits.parquet."""

import logging
from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc
from typer import Option

from pipeline.config.contradictions import find_label_set_contradictions
from pipeline.data.label_sets import label_sets
from pipeline.data.tables import CATALOG, SPLITS, read_table, write_table
from pipeline.splitting.left_out import report_split
from pipeline.splitting.protocols import make_splits
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    catalog: Annotated[Path, Option(help="table of images")],
    out: Annotated[Path, Option(help="table of splits to write")],
) -> None:
    params = load()
    images = read_table(catalog, CATALOG)
    splits = make_splits(
        images,
        protocol=params.split.protocol,
        test_fraction=params.split.test_fraction,
        val_by=params.split.val_by,
        val_fraction=params.split.val_fraction,
        seed=params.seed,
    )
    for line in report_split(images, splits):
        logger.info(line)
    training = splits.filter(pc.equal(splits["split"], "train"))["image_id"]
    trained_on = images.filter(pc.is_in(images["image_id"], training))
    if not label_sets(trained_on["labels"]).single:
        # A warning before the long stages, not an error: a person may only want to mine.
        for problem in find_label_set_contradictions(params):
            logger.warning("train will stop at this: params.yaml: %s", problem)
    write_table(splits, out, SPLITS)


if __name__ == "__main__":
    run(main, "split")
