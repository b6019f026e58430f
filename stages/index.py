"""Build the index of all embeddings of one model: index/<model>, and of the added images' apart."""

from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

from pipeline.data.arrays import Vectors
from pipeline.data.embeddings import read_embeddings, read_lineage, require_embeddings
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.index.build import build_beside, build_index, write_index
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="directory of embeddings")],
    added: Annotated[Path, Option(help="directory of embeddings of images without labels")],
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
    index = build_index(vectors, factory=params.index.factory, distance=distance, seed=params.seed)
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
    return [ids[row] for row in order], vectors[order]


if __name__ == "__main__":
    run(main, "index")
