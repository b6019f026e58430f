"""Mine triplets for training, by embeddings or by labels: data/triplets.parquet.

Batches of another kind need none: the table is then empty.
"""

import logging
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from typer import Option

from pipeline.config.schema import Params
from pipeline.data.arrays import Vectors
from pipeline.data.joins import read_embedded_split, read_labels
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import SPLITS, TRIPLETS, read_table, write_table
from pipeline.mining.triplets import MinedTriplets
from pipeline.workers import Workers
from stages.cluster import open_workers
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings of all images")],
    splits: Annotated[Path, Option(help="table of splits: the training images")],
    catalog: Annotated[Path, Option(help="table of images: their labels")],
    out: Annotated[Path, Option(help="table of triplets to write")],
) -> None:
    params = load()
    needed = params.batches.options.mined
    if not needed or not len(_read_training_ids(splits)):
        # DVC has no stage that is left out, and `train` depends on the file.
        why = "no image is for training" if needed else f"batches.name is {params.batches.name}"
        logger.info("no triplets, because %s", why)
        write_table(pa.schema(TRIPLETS.columns).empty_table(), out, TRIPLETS)
        return
    if params.mine.method == "labels" and not params.mine.hard:
        ids, vectors = _read_training_ids(splits), None
    else:
        ids, vectors = _read_training_images(embeddings, splits)
    labels = read_labels(catalog, ids, ids_from=splits)
    started = time.perf_counter()
    with open_workers(params, out.parent) as workers:
        mined = METHODS[params.mine.method](labels, vectors, params, workers)
    _log_triplets(mined, images=len(ids), seconds=time.perf_counter() - started)
    columns = {
        name: pa.array(ids[rows], pa.string())
        for name, rows in (
            ("anchor", mined.anchors),
            ("positive", mined.positives),
            ("negative", mined.negatives),
        )
    }
    write_table(pa.table({**columns, "shared": pa.array(mined.shared)}), out, TRIPLETS)


def _mine_by_embeddings(
    labels: LabelSets, vectors: Vectors | None, params: Params, workers: Workers
) -> MinedTriplets:
    from pipeline.mining.by_embeddings import mine_by_embeddings

    if vectors is None:
        raise ValueError("mining by embeddings needs the vectors")
    return mine_by_embeddings(
        vectors,
        labels,
        positives=params.mine.positives,
        negatives=params.mine.negatives,
        per_anchor=params.mine.per_anchor,
        distance=params.index.distance,
        seed=params.seed,
        candidates=params.mine.candidates,
        workers=workers,
    )


def _mine_by_labels(
    labels: LabelSets, vectors: Vectors | None, params: Params, workers: Workers
) -> MinedTriplets:
    from pipeline.mining.by_labels import mine_by_labels

    return mine_by_labels(
        labels,
        vectors,
        pool=params.mine.pool,
        per_anchor=params.mine.per_anchor,
        distance=params.index.distance,
        seed=params.seed,
        workers=workers,
    )


# By `mine.method`. Each imports its module when called: importing faiss alone takes longer than
# mining COCO by labels.
METHODS = {"embeddings": _mine_by_embeddings, "labels": _mine_by_labels}


def _read_training_ids(splits: Path) -> NDArray[np.object_]:
    table = read_table(splits, SPLITS)
    ids = table["image_id"].to_numpy()
    training: NDArray[np.object_] = ids[table["split"].to_numpy() == "train"]
    return training


def _read_training_images(embeddings: Path, splits: Path) -> tuple[NDArray[np.object_], Vectors]:
    # A function of its own, after which the vectors of all the others take no memory.
    images = read_embedded_split(embeddings, splits)
    in_training = images.split == "train"
    return images.ids[in_training], images.vectors[in_training]


def _log_triplets(mined: MinedTriplets, *, images: int, seconds: float) -> None:
    anchors = len(np.unique(mined.anchors))
    logger.info(
        "%d triplets for %d of %d training images in %.1f s; left out: %d without a positive, "
        "%d without a negative%s",
        len(mined.anchors),
        anchors,
        images,
        seconds,
        mined.without_positive,
        mined.without_negative,
        f"; {mined.overlapping} negatives share a label" if mined.overlapping else "",
    )


if __name__ == "__main__":
    run(main, "mine")
