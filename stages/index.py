"""Build the index of all embeddings of one model: index/<model>, and of the added images' apart."""

from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

from pipeline.data.embeddings import read_embeddings, read_lineage, require_embeddings
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.index.build import build_index, write_index
from stages.runner import load, run

# Few images may be added, which other kinds of index cannot be trained on.
ADDED_FACTORY = "Flat"


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
    if not others[0]:
        others = [], np.empty((0, images[1].shape[1]), np.float32)
    for (ids, vectors), source, to, factory in (
        (images, embeddings, out, params.index.factory),
        (others, added, added_out, ADDED_FACTORY),
    ):
        order = tie_order(ids)
        index = build_index(
            vectors[order], factory=factory, distance=params.index.distance, seed=params.seed
        )
        write_index(to, index, [ids[row] for row in order], read_lineage(source))
    return model


if __name__ == "__main__":
    run(main, "index")
