"""Embed every image of the catalog with one model: embeddings/<model>.parquet."""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline.data import tables
from pipeline.data.embeddings import write_embeddings
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.shards import PackedImages
from pipeline.models import devices
from pipeline.models.embed_images import embed_images
from pipeline.models.embedder import load_embedder
from stages import runner

logger = logging.getLogger(__name__)


def main(
    model: Annotated[str, typer.Option(help="name of the model: baseline, finetuned")],
    model_dir: Annotated[Path, typer.Option("--from", help="directory of the model")],
    images: Annotated[Path, typer.Option(help="directory of packed images")],
    catalog: Annotated[Path, typer.Option(help="table of images")],
    out: Annotated[Path, typer.Option(help="table of embeddings to write")],
) -> str:
    """Write the embedding of each image of CATALOG to OUT, in the catalog's order.

    The table is empty if only labels were packed: later stages may need no vectors. Returns the
    model's name.
    """
    params = runner.load()
    devices.make_deterministic()
    device = devices.find_device()
    embedder, packed = load_embedder(model_dir), PackedImages(images)
    if not len(packed):
        logger.warning("no images were packed, only their labels: %s is empty", out)
        write_embeddings(out, [], np.empty((0, embedder.dim), dtype=np.float32))
        return model
    image_ids = tables.read_table(catalog, tables.CATALOG)["image_id"].to_pylist()
    precision = devices.resolve_precision(params.embed.precision, device)
    vectors = embed_images(
        embedder,
        packed,
        image_ids,
        batch_size=params.embed.batch_size,
        hflip=params.embed.hflip,
        precision=precision,
        workers=params.embed.workers,
        device=device,
        what=f"embed {model}",
    )
    used = devices.name_precision(precision)
    lineage = Lineage(digest_model(model_dir), params.embed.hflip, used)
    write_embeddings(out, image_ids, vectors, lineage)
    return model


if __name__ == "__main__":
    runner.run(main, "embed")
