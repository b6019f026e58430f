"""Mine triplets for training from the baseline's embeddings: data/triplets.parquet."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from typer import Option

from pipeline.retrieval.alignment import read_aligned, read_labels
from pipeline.retrieval.mining import Mined, mine_embeddings
from pipeline.schemas import TRIPLETS, write_table
from stages.entry import load, run

# mine.method -> the function that mines; each takes what it needs of the pictures and of `mine`.
METHODS = {"embeddings": mine_embeddings}


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings, of every picture")],
    splits: Annotated[Path, Option(help="table of splits: who is trained on")],
    catalog: Annotated[Path, Option(help="table of pictures: their labels")],
    out: Annotated[Path, Option(help="table of triplets to write")],
) -> None:
    params = load()
    pictures = read_aligned(embeddings, splits)
    rows = np.flatnonzero(pictures.split == "train")
    ids = pictures.ids[rows]
    mined = METHODS[params.mine.method](
        pictures.vectors[rows],
        read_labels(catalog, ids, asked=splits),
        positives=params.mine.positives,
        negatives=params.mine.negatives,
        per_anchor=params.mine.per_anchor,
        distance=params.index.distance,
        seed=params.seed,
    )
    _tell(mined, pictures=len(rows))
    columns = {
        name: pa.array(ids[of], pa.string())
        for name, of in (
            ("anchor", mined.anchors),
            ("positive", mined.positives),
            ("negative", mined.negatives),
        )
    }
    write_table(pa.table({**columns, "shared": pa.array(mined.shared)}), out, TRIPLETS)


def _tell(mined: Mined, *, pictures: int) -> None:
    anchors = len(np.unique(mined.anchors))
    print(
        f"mine: {len(mined.anchors)} triplets for {anchors} of {pictures} training pictures; left "
        f"out: {mined.without_positive} without a positive, {mined.without_negative} without a "
        "negative",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run(main, "mine")
