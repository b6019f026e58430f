"""Split the dataset into train, validation and test, query and gallery: data/splits.parquet."""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from typer import Option

from pipeline.config.contradictions import refuse_label_sets
from pipeline.config.schema import Params
from pipeline.data.chosen import describe_chosen, to_metadata
from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.data.tables import CATALOG, CLASSES, HEALTH, SPLITS, read_table, write_table
from pipeline.errors import UserError
from pipeline.health.findings import find_leaks
from pipeline.splitting.automatic import AUTO, SplitOptions, list_chosen
from pipeline.splitting.protocols import Split, make_splits
from stages.runner import load, load_trained, run

OWN_ROLES = (
    "split.protocol auto follows how the images are split already (by folders train, val and test "
    "or by a table); random splits them anew, test_only trains on none"
)
UNTRAINED = (
    "nothing is trained, so the models baseline and finetuned are the same; all images can be "
    "searched. Why:"
)

logger = logging.getLogger(__name__)


def main(
    catalog: Annotated[Path, Option(help="table of images")],
    classes: Annotated[Path, Option(help="table of classes")],
    health: Annotated[Path, Option(help="table of what the pixels tell")],
    out: Annotated[Path, Option(help="table of splits to write")],
) -> None:
    params = load()
    images = read_table(catalog, CATALOG)
    wanted = SplitOptions(**params.split.model_dump())
    pixels = read_table(health, HEALTH)
    # Scores are published of the splits of all datasets but a person's own.
    published = params.data.name != "folder"
    split = make_splits(
        images,
        wanted,
        seed=params.seed,
        class_names=_read_names(classes),
        health=pixels,
        published=published,
    )
    _check(split, images, params)
    if chosen := list_chosen(wanted, split.options):
        logger.info(describe_chosen(chosen))
    for line in split.left_out.unused:
        logger.info(line)
    for finding in find_leaks(pixels, split.table):
        if finding.groups:
            logger.warning(finding.describe())
    untrained = "; ".join(split.untrained)
    write_table(split.table, out, SPLITS, metadata=to_metadata(chosen, untrained=untrained))


def _read_names(classes: Path) -> dict[int, str]:
    table = read_table(classes, CLASSES)
    return dict(zip(table["label"].to_pylist(), table["name"].to_pylist(), strict=True))


def _check(split: Split, images: pa.Table, params: Params) -> None:
    """Raise a UserError of all that would stop a later stage; log what is left undone by `auto`.

    Here, seconds after the start, rather than minutes later.
    """
    obstacles = list(split.obstacles)
    if obstacles and params.split.protocol == AUTO:
        obstacles.append(OWN_ROLES)
    if split.left_out.enough_to_train and not split.untrained:
        labels = _training_labels(split, images)
        for name, of_model in load_trained().items():
            where = "" if name == "finetuned" else f"variants.{name}: "
            # A variant that is wrong where params.yaml is, is wrong by that.
            misfits = [line for line in _find_misfits(of_model, labels) if line not in obstacles]
            obstacles += [f"{where}{line}" for line in misfits]
    if obstacles:
        raise UserError(*obstacles)
    if split.untrained:
        for line in [UNTRAINED, *split.untrained]:
            logger.warning(line)
    if split.left_out.against_measuring:
        logger.warning("nothing is measured, because no image can be a query")


def _find_misfits(params: Params, labels: LabelSets) -> list[str]:
    """Return what cannot train images of these labels, a line each."""
    batches = params.batches.options.fit(labels)
    return [
        *batches.find_misfits(labels),
        *batches.find_too_few(params.mine.per_anchor * len(labels)),
        *([] if labels.single else _refuse(params)),
    ]


def _refuse(params: Params) -> list[str]:
    try:
        refuse_label_sets(params)
    except UserError as error:
        return [*error.args]
    return []


def _training_labels(split: Split, images: pa.Table) -> LabelSets:
    """Return the label sets of the training images."""
    in_training = split.table["split"].to_numpy(zero_copy_only=False) == "train"
    # Both are ordered by image_id.
    labels = label_sets(images.sort_by("image_id")["labels"])
    return labels.take(np.flatnonzero(in_training))


if __name__ == "__main__":
    run(main, "split")
