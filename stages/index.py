"""Build the index of all embeddings of one model: index/<model>, and of the added images' apart."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from typer import Option

from pipeline.data.arrays import Ints, Vectors
from pipeline.data.embeddings import read_embeddings, read_lineage, require_embeddings
from pipeline.data.joins import find_rows, take_rows
from pipeline.data.tables import SPLITS, read_table
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.index.build import build_beside, build_index, write_index
from pipeline.index.effort import MOST_QUERIES, choose_effort, is_exact
from stages.cluster import open_workers
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="directory of embeddings")],
    added: Annotated[Path, Option(help="directory of embeddings of images without labels")],
    splits: Annotated[Path, Option(help="table of splits: the images of validation")],
    out: Annotated[Path, Option(help="directory of the index to write")],
    added_out: Annotated[Path, Option(help="directory of the index of ADDED to write")],
    model: Annotated[str | None, Option(help="name of the model, for the log")] = None,
) -> str | None:
    """Write the index of every image of EMBEDDINGS to OUT, in the order of ties; so with ADDED."""
    params = load()
    images, others = require_embeddings(embeddings), read_embeddings(added)
    if taken := set(images[0]) & set(others[0]):
        raise UserError(
            f"{added}: {len(taken)} image_ids are those of images with labels, the first is "
            f"'{min(taken)}'; allowed: others; rename the folder in added.source"
        )
    distance = params.index.distance
    ids, vectors = _in_tie_order(*images)
    factory, seed = params.index.factory, params.seed
    with open_workers(params, out.parent) as workers:
        index = build_index(vectors, factory=factory, distance=distance, seed=seed, workers=workers)
    if not is_exact(index):
        queries = _sample_queries(ids, splits, params.seed)
        choose_effort(index, vectors, queries, distance=distance, recall=params.index.recall)
    write_index(out, index, ids, read_lineage(embeddings))
    if not others[0]:
        others = [], np.empty((0, vectors.shape[1]), np.float32)
    ids, vectors = _in_tie_order(*others)
    write_index(
        added_out, build_beside(index, vectors, distance=distance), ids, read_lineage(added)
    )
    return model


def _in_tie_order(ids: list[str], vectors: Vectors) -> tuple[list[str], Vectors]:
    order = tie_order(ids)
    return [ids[row] for row in order], take_rows(vectors, order)


def _sample_queries(ids: list[str], splits: Path, seed: int) -> Ints:
    """Return the rows of some images of validation; where there are none, of training; where
    nothing is trained, of those of test."""
    table = read_table(splits, SPLITS)
    split = table["split"].to_numpy()
    for name in ("val", "train", "test"):
        of_split = table["image_id"].combine_chunks().filter(pa.array(split == name))
        if len(of_split):
            rows = find_rows(
                of_split, pa.array(ids, pa.string()), ids_from=splits, table="the index"
            )
            count = min(len(rows), MOST_QUERIES)
            return np.random.default_rng(seed).choice(rows, count, replace=False)
    return np.empty(0, np.int64)


if __name__ == "__main__":
    run(main, "index")
