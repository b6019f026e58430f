"""From the backbone's map to the embedding: pooling, then a trained head or none."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """The mean over places: [B, C, h, w] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))  # (B, C)


class GeM(nn.Module):
    """Generalised mean over places, [B, C, h, w] -> [B, C]: (mean(max(x, eps) ** p)) ** (1 / p).

    p is trained, from 3. p = 1 is the average of what is positive, p -> infinity the maximum.
    Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018, eq. 3.
    Negative activations count as eps, so it suits networks that end in a ReLU best.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)  # (B, C)


# [B, C, h, w] -> [B, C], or [B, C * h * w] with "flatten", which keeps what is where.
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": Average,
    "gem": GeM,
    "flatten": nn.Flatten,
}


def _linear(features: int, dim: int, _hidden: int) -> nn.Module:
    return nn.Linear(features, dim)


def _mlp(features: int, dim: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _none(_features: int, _dim: int, _hidden: int) -> nn.Module:
    return nn.Identity()


# (features, dim, hidden) -> a module [B, features] -> [B, dim]; "none" keeps [B, features].
HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": _linear,
    "mlp": _mlp,
    "none": _none,
}
