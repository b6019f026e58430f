"""Pooling: from the backbone's feature map to one vector for each image.

A new one is a class here, a line of POOLINGS and its name in `BackboneParams` of the schema.
"""

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """Pools a map [B, C, h, w] to [B, C * n]: n values of each channel, side by side.

    The layer norm that some networks have after pooling relies on that order.
    """

    @staticmethod
    def values_per_channel(height: int, width: int, /) -> int:
        """Return n for a map of this size."""
        raise NotImplementedError


class AveragePooling(Pooling):
    """The mean over the positions of the map: [B, C, h, w] -> [B, C]."""

    @staticmethod
    def values_per_channel(_height: int, _width: int, /) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))  # (B, C)


class GeMPooling(Pooling):
    """Generalised mean over positions, [B, C, h, w] -> [B, C]: (mean(max(x, eps) ** p)) ** (1 / p).

    p is trained, starting at 3. p = 1 is the average of the positive values, p -> infinity the
    maximum. Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018,
    eq. 3. Negative activations count as eps, so it suits networks that end in a ReLU best.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    @staticmethod
    def values_per_channel(_height: int, _width: int, /) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)  # (B, C)


class Flattening(Pooling):
    """All positions, one after another: [B, C, h, w] -> [B, C * h * w]."""

    @staticmethod
    def values_per_channel(height: int, width: int, /) -> int:
        return height * width

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)  # (B, C * h * w)


POOLINGS: dict[str, type[Pooling]] = {
    "avg": AveragePooling,
    "gem": GeMPooling,
    "flatten": Flattening,
}
