"""Build the index of the gallery's embeddings: index/<model>."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.data.embeddings import read_lineage
from pipeline.data.joins import read_embedded_split
from pipeline.index.build import build_index, write_index
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings")],
    splits: Annotated[Path, Option(help="table of splits: the gallery")],
    out: Annotated[Path, Option(help="directory of the index to write")],
    model: Annotated[str | None, Option(help="name of the model, for the log")] = None,
) -> str | None:
    params = load()
    images = read_embedded_split(embeddings, splits)
    index = build_index(
        images.vectors[images.is_gallery],
        factory=params.index.factory,
        distance=params.index.distance,
        seed=params.seed,
    )
    ids = list(images.ids[images.is_gallery])
    write_index(out, index, ids, read_lineage(embeddings))
    return model


if __name__ == "__main__":
    run(main, "index")
