"""Training images, augmented in another way each time they are shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pipeline.config.schema import AugmentParams
from pipeline.data.arrays import Ints
from pipeline.data.packed_images import PackedImages
from pipeline.models.without_compiler import without_compiler

with without_compiler():
    from torchvision.transforms import InterpolationMode, v2


def build_augmentation(
    augment: AugmentParams, *, image_size: int, interpolation: str
) -> v2.Transform:
    """Return RGB image -> RGB image, image_size square; random by torch's generator.

    RandAugment: Cubuk et al., 2020. Erasing: Zhong et al., "Random Erasing Data Augmentation",
    2020, of 2 to 33% of the area, in black.
    """
    by = InterpolationMode(interpolation)
    steps: list[Any] = (
        [v2.RandomResizedCrop(image_size, scale=tuple(augment.crop), interpolation=by)]
        if augment.crop
        else [v2.Resize(image_size, interpolation=by), v2.CenterCrop(image_size)]
    )
    if augment.hflip:
        steps.append(v2.RandomHorizontalFlip(augment.hflip))
    if augment.jitter:
        steps.append(v2.ColorJitter(*augment.jitter))
    if augment.rand_augment:
        turned = InterpolationMode.BICUBIC if by == InterpolationMode.LANCZOS else by
        steps.append(v2.RandAugment(*augment.rand_augment, interpolation=turned))
    if augment.erase:
        steps += [v2.PILToTensor(), v2.RandomErasing(augment.erase), v2.ToPILImage()]
    return v2.Compose(steps)


class TrainingImages(Dataset[tuple[NDArray[np.uint8], int]]):
    """Training images by (row, seed): the augmented image, uint8 [S, S, 3], and its target.

    targets: int64 [N], of each image its label; its row where images have several labels. side: the
    least width and height that a large JPEG is decoded at.
    The seed alone decides the augmentation, so neither the number of worker processes nor an
    interruption of the run changes what is shown.
    """

    def __init__(
        self,
        images: PackedImages,
        image_ids: list[str],
        targets: Ints,
        augmentation: v2.Transform,
        side: int,
    ) -> None:
        self.images = images
        self.image_ids = image_ids
        self.targets = targets
        self.augmentation = augmentation
        self.side = side

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, sample: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
        row, seed = sample
        with _seeded(seed):
            image = self.images.decode_small(self.image_ids[row], side=self.side)
            image = self.augmentation(image)
        return np.array(image), int(self.targets[row])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's generator, by which images are augmented; restore its state afterwards.

    `torch.manual_seed` would seed every kind of device that torch was built for, which takes
    longer than augmenting a small image.
    """
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)
