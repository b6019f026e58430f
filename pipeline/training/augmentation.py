"""Training pictures, each shown a little differently every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from pipeline.data.shards import PackedPictures

if TYPE_CHECKING:
    from pipeline.config.load import Augment


def build_augmentation(augment: "Augment", *, image_size: int, interpolation: str) -> v2.Transform:
    """Return RGB picture -> RGB picture, image_size square; draws from torch's generator."""
    by = InterpolationMode(interpolation)
    steps: list[Any] = (
        [v2.RandomResizedCrop(image_size, scale=tuple(augment.crop), interpolation=by)]
        if augment.crop
        else [v2.Resize(image_size, interpolation=by), v2.CenterCrop(image_size)]
    )
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip(augment.flip))
    if augment.jitter:
        steps.append(v2.ColorJitter(*augment.jitter))
    return v2.Compose(steps)


class TrainingPictures(Dataset[tuple[NDArray[np.uint8], int]]):
    """Training pictures by (row, seed): the augmented picture, uint8 [S, S, 3], and what the
    objective knows it by: its label, or its row where pictures have several.

    The seed alone decides the augmentation, so neither the number of worker processes nor where
    a run was interrupted changes what is shown.
    """

    def __init__(
        self,
        pictures: PackedPictures,
        image_ids: list[str],
        targets: NDArray[np.int64],
        augmentation: v2.Transform,
    ) -> None:
        self.pictures = pictures
        self.image_ids = image_ids
        self.targets = targets
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, draw: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
        row, seed = draw
        with _seeded(seed):
            picture = self.augmentation(self.pictures.decode(self.image_ids[row]))
        return np.array(picture), int(self.targets[row])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` on the CPU, where pictures are augmented; afterwards, on as before.

    `torch.manual_seed` would seed every kind of device that torch was built for, which takes
    longer than to augment a small picture.
    """
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)
