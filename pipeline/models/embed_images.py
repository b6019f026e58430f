"""Embeds many images: worker processes decode and resize, the model's device does the rest."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.arrays import Vectors
from pipeline.data.shards import PackedImages
from pipeline.models.devices import autocast, usable_workers
from pipeline.models.embedder import Embedder
from pipeline.models.preprocessing import normalize_pixels, resize_and_crop
from pipeline.progress import show_progress
from pipeline.stopping import unreached


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
        image = self.images.decode(self.image_ids[row])
        return resize_and_crop(image, self.size, self.interpolation)


def embed_images(
    model: Embedder,
    images: PackedImages,
    image_ids: Sequence[str],
    *,
    batch_size: int,
    precision: torch.dtype,
    workers: int,
    device: torch.device,
    hflip: bool = False,
    what: str = "embed",
) -> Vectors:
    """Return float32 [N, D], row i the embedding of image_ids[i].

    The model runs in eval mode and in `precision` (see `devices.resolve_precision`), and stays on
    `device`; every module's mode is restored. The bits do not depend on the number of workers.

    hflip: return the mean of the embeddings of the image and of its horizontal flip (of length 1
    again, if the model's are), at twice the cost. what: the name of the progress bar.

    Raises:
        UserError: an id has no image.
    """
    images.require(image_ids)
    spec = model.spec
    dataset = ResizedImages(images, image_ids, spec.image_size, spec.interpolation)
    batches = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=usable_workers(workers),
        pin_memory=device.type == "cuda",
    )
    vectors = np.empty((len(dataset), model.dim), dtype=np.float32)
    modes = {module: module.training for module in model.modules()}
    model.to(device).to(memory_format=torch.channels_last).eval()
    with unreached():
        loaded = iter(batches)
    with torch.inference_mode(), autocast(device, precision):
        for number, pixels in enumerate(show_progress(loaded, total=len(batches), what=what)):
            embeddings = embed_pixels(model, pixels.to(device, non_blocking=True), hflip=hflip)
            start = number * batch_size
            vectors[start : start + len(embeddings)] = embeddings.cpu().numpy()
    for module, training in modes.items():
        module.training = training
    return vectors


def embed_pixels(model: Embedder, pixels: Tensor, *, hflip: bool) -> Tensor:
    """Return float32 [B, D] of uint8 [B, S, S, 3], as `resize_and_crop` returns them.

    The caller puts model and pixels on one device, and chooses mode, precision and gradients.

    hflip: as in `embed_images`.
    """
    x = normalize_pixels(pixels.permute(0, 3, 1, 2), model.spec)  # (B, 3, S, S)
    embeddings: Tensor = model(x)  # (B, D)
    if hflip:
        embeddings = (embeddings + model(x.flip(3))) / 2
        if model.spec.normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    return embeddings
