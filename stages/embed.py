"""Embed every packed image with one model: embeddings/<model>, a file for each bucket of images."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.schema import Params
from pipeline.data.embeddings import SUFFIX, join_buckets, read_bucket, write_bucket
from pipeline.data.kept_files import KeptFiles
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.packed_images import PackedImages
from pipeline.models import devices
from pipeline.models.embed_images import embed_groups
from pipeline.models.embedder import load_embedder
from stages import runner
from stages.maker import fingerprint_maker

logger = logging.getLogger(__name__)


def main(
    model: Annotated[str, typer.Option(help="name of the model: baseline, finetuned")],
    model_dir: Annotated[Path, typer.Option("--from", help="directory of the model")],
    images: Annotated[Path, typer.Option(help="directory of packed images")],
    added: Annotated[Path, typer.Option(help="directory of packed images without labels")],
    kept: Annotated[Path, typer.Option(help="directory of buckets that need not be made again")],
    out: Annotated[Path, typer.Option(help="directory of embeddings to write")],
    added_out: Annotated[Path, typer.Option(help="directory of embeddings of ADDED to write")],
) -> str:
    """Write the embedding of each image of IMAGES to OUT and of ADDED to ADDED_OUT, by buckets.

    A bucket whose images, model, options and code are those of the last run is not embedded again;
    nor is one that a killed run had done. OUT has none if only labels were packed: later stages may
    need no vectors. Returns the model's name.
    """
    params = runner.load()
    devices.make_deterministic()
    outputs = {out: PackedImages(images), added_out: PackedImages(added)}
    if not len(outputs[out]):
        logger.warning("no images were packed, only their labels: %s is empty", out)
    device = devices.find_device()
    precision = devices.resolve_precision(params.embed.precision, device)
    used = devices.name_precision(precision)
    lineage = Lineage(digest_model(model_dir), params.embed.hflip, used)
    maker = f"{fingerprint_maker('embed', params.bits)}, {devices.name_device(device)}"
    files = KeptFiles(
        kept, SUFFIX, of=f"{lineage}, {params.embed.batch_size}, {maker}", check=read_bucket
    )
    for to, packed in outputs.items():
        _embed_missing(packed, files, params, model_dir)
        paths = [(bucket.number, files.path(bucket.digest)) for bucket in packed.manifest.buckets]
        join_buckets(paths, to, count=packed.manifest.count, lineage=lineage)
    files.keep_only(
        bucket.digest for packed in outputs.values() for bucket in packed.manifest.buckets
    )
    return model


def _embed_missing(packed: PackedImages, files: KeptFiles, params: Params, model_dir: Path) -> None:
    """Embed the images of each bucket that is not kept, and keep it."""
    buckets = packed.manifest.buckets
    missing = [bucket for bucket in buckets if not files.has(bucket.digest)]
    if len(missing) < len(buckets):
        logger.info("%d of %d buckets are kept", len(buckets) - len(missing), len(buckets))
    if not missing:
        return
    device = devices.find_device()
    groups = [packed.ids_of(bucket) for bucket in missing]
    made = embed_groups(
        load_embedder(model_dir),
        packed,
        groups,
        batch_size=params.embed.batch_size,
        hflip=params.embed.hflip,
        precision=devices.resolve_precision(params.embed.precision, device),
        workers=params.embed.workers,
        device=device,
        what=f"embed {model_dir.name}",
    )
    for bucket, ids, vectors in zip(missing, groups, made, strict=True):
        write_bucket(files.path(bucket.digest), ids, vectors)


if __name__ == "__main__":
    runner.run(main, "embed")
