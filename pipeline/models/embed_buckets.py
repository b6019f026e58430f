"""Embeds the buckets of packed images that are not kept, a file of vectors for each."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline.data.arrays import Vectors
from pipeline.data.buckets import Bucket
from pipeline.data.embeddings import read_bucket, write_bucket
from pipeline.data.kept_files import KeptFiles
from pipeline.data.lineage import digest_model
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from pipeline.models import devices
from pipeline.models.embed_images import embed_groups, fill_up, images_at_once
from pipeline.models.embedder import (
    Embedder,
    has_head_on_embedding,
    load_embedder,
    save_embedder,
    without_head,
)
from pipeline.progress import show_progress
from pipeline.workers import Workers

# What other processes are given at a time: enough for what a part costs by itself, and few enough
# to be lost with a process.
IMAGES_AT_ONCE = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedding:
    """How images are embedded: by the model in a directory, on a device and in a precision as
    `describe_device` names them; the rest as of `embed_groups`.

    known: files that may hold what the model's head takes, by the digest of the bucket; None where
    it takes more than the baseline's embedding.
    """

    model: Path
    batch_size: int
    hflip: bool
    device: str
    precision: str
    workers: int
    known: KeptFiles | None = None

    @cached_property
    def embedder(self) -> Embedder:
        """The model, loaded once in each process."""
        devices.make_deterministic()
        return load_embedder(self.model)


def embed_missing(
    images: PackedImages, files: KeptFiles, embedding: Embedding, workers: Workers
) -> None:
    """Embed the images of each bucket that is not in `files`, by the bucket's digest, into it."""
    buckets = images.manifest.buckets
    missing = [bucket for bucket in buckets if not files.has(bucket.digest)]
    if len(missing) < len(buckets):
        logger.info("%d of %d buckets are kept", len(buckets) - len(missing), len(buckets))
    if not missing:
        return
    work = partial(_embed_buckets, images, files, embedding)
    if workers.are_here:
        work(missing)
        return
    parts = list(_split(missing))
    done = workers.map(partial(work, threads=1), parts)  # each core has a process of its own
    for _ in show_progress(done, total=len(parts), what=f"embed {embedding.model.name}"):
        pass


def _split(buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
    """Yield the buckets in lists of about IMAGES_AT_ONCE images."""
    some: list[Bucket] = []
    for bucket in buckets:
        some.append(bucket)
        if sum(each.rows for each in some) >= IMAGES_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _embed_buckets(
    images: PackedImages,
    files: KeptFiles,
    embedding: Embedding,
    buckets: Sequence[Bucket],
    *,
    threads: int | None = None,
) -> None:
    # Where a process was lost, it may have embedded some of them.
    missing = [bucket for bucket in buckets if not files.has(bucket.digest)]
    if not missing:
        return
    found, _ = devices.describe_device(embedding.precision)
    if found != embedding.device:
        raise UserError(
            f"cluster: a worker computes on {found}; allowed: {embedding.device}, as another does; "
            "start all on the same kind of device (CUDA_VISIBLE_DEVICES)"
        )
    device = devices.find_device()
    if known := embedding.known:
        for bucket in [each for each in missing if known.has(each.digest)]:
            ids, vectors = read_bucket(known.path(bucket.digest))
            write_bucket(files.path(bucket.digest), ids, _project(embedding, vectors, device))
            missing.remove(bucket)
    groups = [images.ids_of(bucket) for bucket in missing]
    made = embed_groups(
        embedding.embedder,
        images,
        groups,
        batch_size=embedding.batch_size,
        hflip=embedding.hflip,
        precision=devices.resolve_precision(embedding.precision, device),
        workers=embedding.workers,
        threads=threads,
        device=device,
        what=f"embed {embedding.model.name}",
    )
    for bucket, ids, vectors in zip(missing, groups, made, strict=True):
        write_bucket(files.path(bucket.digest), ids, vectors)


def _project(embedding: Embedding, vectors: Vectors, device: torch.device) -> Vectors:
    """Return float32 [N, D] of the baseline's embeddings, float32 [N, F], of one bucket.

    By the same batches as `embed_groups`, so that they are the same bits.
    """
    model = embedding.embedder.to(device).eval()
    size = images_at_once(embedding.batch_size, model.spec.image_size, device)
    parts = []
    for start in range(0, len(vectors), size):
        part = torch.from_numpy(vectors[start : start + size].copy()).to(device)
        with torch.inference_mode():
            parts.append(model.project(fill_up(part, size))[: len(part)].cpu().numpy())
    return np.concatenate(parts)


def digest_baseline(model: Path) -> str | None:
    """Return the digest of the model whose embedding the head takes; None where it takes more.

    model: a directory. The digest is that of the baseline's directory, where its backbone is this.
    """
    if not has_head_on_embedding(model):
        return None
    with TemporaryDirectory() as folder:
        save_embedder(without_head(load_embedder(model)), Path(folder))
        return digest_model(Path(folder))
