"""Mine triplets for training, by embeddings or by labels: data/triplets.parquet."""

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
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings, of every image")],
    splits: Annotated[Path, Option(help="table of splits: which images are for training")],
    catalog: Annotated[Path, Option(help="table of images: their labels")],
    out: Annotated[Path, Option(help="table of triplets to write")],
) -> None:
    params = load()
    if params.mine.method == "labels" and not params.mine.hard:
        ids, vectors = _read_training_ids(splits), None
    else:
        images = read_embedded_split(embeddings, splits)
        rows = np.flatnonzero(images.split == "train")
        ids, vectors = images.ids[rows], images.vectors[rows]
    labels = read_labels(catalog, ids, ids_from=splits)
    started = time.perf_counter()
    mined = _mine(labels, vectors, params)
    _log(mined, images=len(ids), seconds=time.perf_counter() - started)
    columns = {
        name: pa.array(ids[of], pa.string())
        for name, of in (
            ("anchor", mined.anchors),
            ("positive", mined.positives),
            ("negative", mined.negatives),
        )
    }
    write_table(pa.table({**columns, "shared": pa.array(mined.shared)}), out, TRIPLETS)


def _mine(labels: LabelSets, vectors: Vectors | None, params: Params) -> MinedTriplets:
    mine, distance = params.mine, params.index.distance
    # Only what is asked for is imported: faiss alone takes longer than mining COCO by labels.
    if mine.method == "labels":
        from pipeline.mining.by_labels import mine_labels

        return mine_labels(
            labels,
            vectors,
            pool=mine.pool,
            per_anchor=mine.per_anchor,
            distance=distance,
            seed=params.seed,
        )
    from pipeline.mining.by_embeddings import mine_embeddings

    assert vectors is not None
    return mine_embeddings(
        vectors,
        labels,
        positives=mine.positives,
        negatives=mine.negatives,
        per_anchor=mine.per_anchor,
        distance=distance,
        seed=params.seed,
    )


def _read_training_ids(splits: Path) -> NDArray[np.object_]:
    table = read_table(splits, SPLITS)
    ids = table["image_id"].to_numpy()
    training: NDArray[np.object_] = ids[table["split"].to_numpy() == "train"]
    return training


def _log(mined: MinedTriplets, *, images: int, seconds: float) -> None:
    anchors = len(np.unique(mined.anchors))
    overlapping = f"; {mined.overlapping} negatives share a label" if mined.overlapping else ""
    logger.info(
        f"{len(mined.anchors)} triplets for {anchors} of {images} training images in "
        f"{seconds:.1f} s; left out: {mined.without_positive} without a positive, "
        f"{mined.without_negative} without a negative{overlapping}"
    )


if __name__ == "__main__":
    run(main, "mine")
