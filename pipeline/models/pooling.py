"""Pooling: from the backbone's feature map to one vector for each image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class AveragePooling(nn.Module):
    """The mean over the positions of the map: [B, C, h, w] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))  # (B, C)


class GeMPooling(nn.Module):
    """Generalised mean over positions, [B, C, h, w] -> [B, C]: (mean(max(x, eps) ** p)) ** (1 / p).

    p is trained, starting at 3. p = 1 is the average of the positive values, p -> infinity the
    maximum. Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018,
    eq. 3. Negative activations count as eps, so it suits networks that end in a ReLU best.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)  # (B, C)


# [B, C, h, w] -> [B, C], or [B, C * h * w] with "flatten", which keeps the position of each value.
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": AveragePooling,
    "gem": GeMPooling,
    "flatten": nn.Flatten,
}
