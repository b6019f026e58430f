"""Embed every image of the catalog with one model, in the catalog's order."""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline.data import tables
from pipeline.data.embeddings import write_embeddings
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.shards import PackedImages
from pipeline.models import devices, embedder
from pipeline.models.embedding import embed
from stages import runner

logger = logging.getLogger(__name__)


def main(
    model: Annotated[str, typer.Option(help="Name of the model: baseline, finetuned.")],
    model_dir: Annotated[Path, typer.Option("--from", help="Directory of the model.")],
    images: Annotated[Path, typer.Option(help="Directory of the packed images.")],
    catalog: Annotated[Path, typer.Option(help="Table of the images.")],
    out: Annotated[Path, typer.Option(help="Table of the embeddings.")],
) -> str:
    """Write one embedding for each image of CATALOG to OUT; return the model's name.

    None where only labels were packed, so that what needs no vectors can follow.
    """
    params = runner.load()
    devices.make_deterministic()
    device = devices.find_device()
    loaded, packed = embedder.load(model_dir), PackedImages(images)
    if not len(packed):
        logger.warning("no images were packed, only their labels: %s is empty", out)
        write_embeddings(out, [], np.empty((0, loaded.dim), dtype=np.float32))
        return model
    image_ids = tables.read_table(catalog, tables.CATALOG)["image_id"].to_pylist()
    vectors = embed(
        loaded,
        packed,
        image_ids,
        batch_size=params.embed.batch_size,
        hflip=params.embed.hflip,
        precision=devices.resolve_precision(params.embed.precision, device),
        workers=params.embed.workers,
        device=device,
        what=f"embed {model}",
    )
    made_by = Lineage(digest_model(model_dir), params.embed.hflip, params.embed.precision)
    write_embeddings(out, image_ids, vectors, made_by)
    return model


if __name__ == "__main__":
    runner.run(main, "embed")
