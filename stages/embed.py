"""Embed every packed image with one model: embeddings/<model>, a file for each bucket of images."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.data.embeddings import SUFFIX, join_buckets, read_bucket
from pipeline.data.kept_files import KeptFiles
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.packed_images import PackedImages
from pipeline.models.devices import describe_device
from pipeline.models.embed_buckets import Embedding, digest_baseline, embed_missing
from stages.cluster import open_workers
from stages.maker import fingerprint_maker
from stages.runner import load, run

logger = logging.getLogger(__name__)


def main(
    model: Annotated[str, typer.Option(help="name of the model: baseline, finetuned")],
    model_dir: Annotated[Path, typer.Option("--from", help="directory of the model")],
    images: Annotated[Path, typer.Option(help="directory of packed images")],
    added: Annotated[Path, typer.Option(help="directory of packed images without labels")],
    kept: Annotated[Path, typer.Option(help="directory of buckets that need not be made again")],
    kept_baseline: Annotated[Path, typer.Option(help="that of the baseline, for a head on it")],
    out: Annotated[Path, typer.Option(help="directory of embeddings to write")],
    added_out: Annotated[Path, typer.Option(help="directory of embeddings of ADDED to write")],
) -> str:
    """Write the embedding of each image of IMAGES to OUT and of ADDED to ADDED_OUT, by buckets.

    A bucket whose images, model, options and code are those of the last run is not embedded again;
    nor is one that a killed run had done. Where the model is a head on the baseline's embeddings,
    the buckets that the baseline has embedded need no images. OUT has none if only labels were
    packed: later stages may need no vectors. Returns the model's name.
    """
    params = load()
    outputs = {out: PackedImages(images), added_out: PackedImages(added)}
    if not len(outputs[out]):
        logger.warning("no images were packed, only their labels: %s is empty", out)
    options = params.embed
    with open_workers(params, kept) as workers:
        device, precision = workers.call(describe_device, options.precision)
        maker = f"{fingerprint_maker('embed', params.bits)}, {device}"
        lineage = Lineage(digest_model(model_dir), options.hflip, precision)
        how = f"{options.batch_size}, {maker}"
        files = KeptFiles(kept, SUFFIX, of=f"{lineage}, {how}", check=read_bucket)
        known = None
        # The mean of an image and its flip is not what a head takes of either.
        if (baseline := digest_baseline(model_dir)) and not options.hflip:
            of = f"{replace(lineage, model=baseline)}, {how}"
            known = KeptFiles(kept_baseline, SUFFIX, of=of, check=read_bucket)
        embedding = Embedding(
            model=model_dir,
            batch_size=options.batch_size,
            hflip=options.hflip,
            device=device,
            precision=precision,
            workers=options.workers,
            known=known,
        )
        for to, packed in outputs.items():
            embed_missing(packed, files, embedding, workers)
            paths = [(each.number, files.path(each.digest)) for each in packed.manifest.buckets]
            join_buckets(paths, to, count=packed.manifest.count, lineage=lineage)
    files.keep_only(
        bucket.digest for packed in outputs.values() for bucket in packed.manifest.buckets
    )
    return model


if __name__ == "__main__":
    run(main, "embed")
