"""Build the index of all embeddings of one model: index/<model>."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.data.embeddings import read_lineage, require_embeddings
from pipeline.data.tie_order import tie_order
from pipeline.index.build import build_index, write_index
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings")],
    out: Annotated[Path, Option(help="directory of the index to write")],
    model: Annotated[str | None, Option(help="name of the model, for the log")] = None,
) -> str | None:
    """Write the index of every image of EMBEDDINGS to OUT, in the order of ties."""
    params = load()
    ids, vectors = require_embeddings(embeddings)
    order = tie_order(ids)
    index = build_index(
        vectors[order],
        factory=params.index.factory,
        distance=params.index.distance,
        seed=params.seed,
    )
    write_index(out, index, [ids[row] for row in order], read_lineage(embeddings))
    return model


if __name__ == "__main__":
    run(main, "index")
