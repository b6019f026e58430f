"""Embeds many images: threads on a processor, each some images; a GPU, what processes decode."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.arrays import Vectors
from pipeline.data.packed_images import PackedImages
from pipeline.models.devices import autocast, one_thread, usable_cores, usable_workers
from pipeline.models.embedder import Embedder
from pipeline.models.preprocessing import least_side, normalize_pixels, resize_and_crop
from pipeline.progress import show_progress
from pipeline.stopping import unreached
from pipeline.workers import map_in_order

# Images that a thread of a processor embeds at a time: the least at which its kernels are fast, or
# as many as have these pixels. Of more, what a layer gives to the next leaves the caches.
CPU_IMAGES, CPU_PIXELS = 16, 16 * 96 * 96
GPU_IMAGES = 64  # a GPU embeds a multiple of so many at a time, or a whole batch
# Images that a worker decodes at a time: few, so that all of them work at the first batch too.
DECODED = 16


class ResizedImages(Dataset[NDArray[np.uint8]]):
    """The images of `image_ids`, each as uint8 [S, S, 3], the input size of a model."""

    def __init__(
        self, images: PackedImages, image_ids: Sequence[str], size: int, interpolation: str
    ) -> None:
        self.images = images
        self.image_ids = list(image_ids)
        self.size = size
        self.interpolation = interpolation

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        image = self.images.decode_small(self.image_ids[row], side=least_side(self.size))
        return resize_and_crop(image, self.size, self.interpolation)


def embed_images(
    model: Embedder, images: PackedImages, image_ids: Sequence[str], **options: Any
) -> Vectors:
    """Return float32 [N, D], row i the embedding of image_ids[i]. Options as of `embed_groups`."""
    [vectors] = embed_groups(model, images, [image_ids], **options)
    return vectors


def embed_groups(
    model: Embedder,
    images: PackedImages,
    groups: Sequence[Sequence[str]],
    *,
    batch_size: int,
    precision: torch.dtype,
    workers: int,
    device: torch.device,
    threads: int | None = None,
    hflip: bool = False,
    what: str = "embed",
) -> Iterator[Vectors]:
    """Yield float32 [N, D] for each group of image_ids, row i the embedding of image i of it.

    No batch has images of two groups, so the bits of a group do not depend on other groups; nor on
    the numbers of workers and threads. The model runs in eval mode and in `precision` (see
    `devices.resolve_precision`), and stays on `device`; in the end, each module's mode is restored.

    workers: processes that decode for a GPU. threads: without a GPU, those that decode and embed;
    None: one for each core. hflip: return the mean of the embeddings of the image and of its
    horizontal flip (of length 1 again, if the model's are), at twice the cost. what: the name of
    the progress bar.

    Raises:
        UserError: an id has no image.
    """
    image_ids = [image_id for group in groups for image_id in group]
    images.require(image_ids)
    size, interpolation = model.spec.image_size, model.spec.interpolation
    resized = ResizedImages(images, image_ids, size, interpolation)
    at_once = images_at_once(batch_size, size, device)
    batches = batches_of([len(group) for group in groups], at_once)
    modes = {module: module.training for module in model.modules()}
    model.to(device).to(memory_format=torch.channels_last).eval()
    embed = partial(embed_batch, model, at_once, precision, hflip)
    embedded = (
        embed_by_threads(embed, resized, batches, threads or usable_cores(), what)
        if device.type == "cpu"
        else _by_processes(embed, resized, batches, usable_workers(workers), what, device)
    )
    try:
        for group in groups:
            vectors = np.empty((len(group), model.dim), dtype=np.float32)
            for start in range(0, len(group), at_once):
                vectors[start : start + at_once] = next(embedded)
            yield vectors
    finally:
        embedded.close()
        for module, training in modes.items():
            module.training = training


def images_at_once(batch_size: int, size: int, device: torch.device) -> int:
    """Return how many images of `size` pixels a side a device embeds at a time.

    >>> [images_at_once(128, size, torch.device("cpu")) for size in (32, 64, 224)]
    [128, 36, 16]
    """
    few = max(CPU_IMAGES, CPU_PIXELS // size**2)
    return min(batch_size, few) if device.type == "cpu" else batch_size


@torch.inference_mode()
def embed_batch(
    model: Embedder, at_once: int, precision: torch.dtype, hflip: bool, pixels: Tensor
) -> Vectors:
    """Return float32 [B, D] of uint8 [B, S, S, 3] on the model's device."""
    with autocast(pixels.device, precision):
        embeddings = embed_pixels(model, fill_up(pixels, at_once), hflip=hflip)
    vectors: Vectors = embeddings[: len(pixels)].cpu().numpy()
    return vectors


def embed_by_threads(
    embed: Callable[[Tensor], Vectors],
    images: ResizedImages | Sequence[NDArray[np.uint8]],
    batches: Sequence[list[int]],
    threads: int,
    what: str,
) -> Generator[Vectors]:
    """Yield the embeddings of each batch; each of so many threads decodes and embeds a batch.

    That is faster than when threads share a layer: none waits for another, or for an image.
    """

    def decode_and_embed(rows: list[int]) -> Vectors:
        return embed(torch.from_numpy(np.stack([images[row] for row in rows])))

    pool = ThreadPoolExecutor(threads)
    embedded = map_in_order(pool, decode_and_embed, batches, at_once=2 * threads)
    try:
        with one_thread():
            yield from show_progress(embedded, total=len(batches), what=what)
    finally:
        pool.shutdown(cancel_futures=True)


def _by_processes(
    embed: Callable[[Tensor], Vectors],
    images: ResizedImages,
    batches: Sequence[list[int]],
    workers: int,
    what: str,
    device: torch.device,
) -> Generator[Vectors]:
    """Yield the embeddings of each batch; worker processes decode parts of it, some batches ahead.

    Threads would not keep a GPU busy: Python runs one of them at a time between two images.
    """
    parts = [[rows[at : at + DECODED] for at in range(0, len(rows), DECODED)] for rows in batches]
    ahead = 2 * max(map(len, parts), default=1)
    loader = DataLoader(
        images,
        batch_sampler=list(chain.from_iterable(parts)),
        num_workers=workers,
        prefetch_factor=max(2, math.ceil(ahead / workers)) if workers else None,
        pin_memory=device.type == "cuda",
    )
    with unreached():
        loaded = iter(loader)
    for of_batch in show_progress(parts, total=len(parts), what=what):
        some = [next(loaded).to(device, non_blocking=True) for _ in of_batch]
        yield embed(torch.cat(some))


def fill_up(batch: Tensor, batch_size: int) -> Tensor:
    """Return [B', …]: a batch [B, …], on a GPU with zeros (black images) behind it.

    For each number of images that it has not met, cuDNN prepares kernels for seconds, and buckets
    end with any number.
    """
    if batch.device.type != "cuda":
        return batch
    more = count_filled(len(batch), batch_size) - len(batch)
    return torch.cat([batch, batch.new_zeros(more, *batch.shape[1:])])


def count_filled(images: int, batch_size: int) -> int:
    """Return of how many images, one of a few numbers, a GPU gets a batch of `images`.

    >>> [count_filled(images, 128) for images in (1, 64, 65, 128)]
    [64, 64, 128, 128]
    >>> [count_filled(images, 8) for images in (1, 8)]
    [8, 8]
    """
    return min(batch_size, math.ceil(images / GPU_IMAGES) * GPU_IMAGES)


def batches_of(sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return the rows of each batch, of groups of so many rows.

    >>> batches_of([3, 1], 2)
    [[0, 1], [2], [3]]
    """
    ends = list(accumulate(sizes, initial=0))
    return [
        list(range(start, min(start + batch_size, end)))
        for first, end in pairwise(ends)
        for start in range(first, end, batch_size)
    ]


def embed_pixels(model: Embedder, pixels: Tensor, *, hflip: bool) -> Tensor:
    """Return float32 [B, D] of uint8 [B, S, S, 3], as `resize_and_crop` returns them.

    The caller puts model and pixels on one device, and chooses mode, precision and gradients.

    hflip: as in `embed_groups`.
    """
    x = normalize_pixels(pixels.permute(0, 3, 1, 2), model.spec)  # (B, 3, S, S)
    embeddings: Tensor = model(x)  # (B, D)
    if hflip:
        embeddings = (embeddings + model(x.flip(3))) / 2
        if model.spec.normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    return embeddings
