"""Make the gallery's embeddings searchable: index/<model>."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.data.embeddings import read_provenance
from pipeline.data.joins import read_aligned
from pipeline.index.search import build_index, write_index
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="table of embeddings")],
    splits: Annotated[Path, Option(help="table of splits: who is in the gallery")],
    out: Annotated[Path, Option(help="directory of the index to write")],
    model: Annotated[str | None, Option(help="whose embeddings; names the stage's time")] = None,
) -> str | None:
    params = load()
    pictures = read_aligned(embeddings, splits)
    index = build_index(
        pictures.vectors[pictures.is_gallery], **params.index.model_dump(), seed=params.seed
    )
    ids = list(pictures.ids[pictures.is_gallery])
    write_index(out, index, ids, read_provenance(embeddings))
    return model


if __name__ == "__main__":
    run(main, "index")
