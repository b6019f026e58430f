"""Low-rank adaptation: a frozen network learns a change of low rank of each of its matrices.

A matrix W [out, in] becomes W + B A in training, with A [r, in] random and B [out, r] zero at first
(Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, 2021, whose alpha is r here, so that
the change is not scaled). At the end the change is added to W for good: what is kept is a network
of the same layers, as large and as fast as before.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.errors import UserError
from pipeline.models.embedder import Embedder


class LowRank(nn.Module):
    """W [out, in] -> W + B A."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))  # as torch's own linear layers begin

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def add_low_rank(model: Embedder, rank: int) -> None:
    """Freeze the backbone but for changes of rank `rank` of its linear and attention layers; of
    those that are frozen already, nothing is changed.

    Raises:
        UserError: it has no such layers.
    """
    matrices = list(_list_matrices(model.backbone))
    if not matrices:
        raise UserError(
            f"train.lora: found {rank}; {model.spec.backbone} has no linear or attention layers "
            "that are trained; allowed: null, or another backbone, such as a transformer"
        )
    model.backbone.requires_grad_(False)
    for module, name in matrices:
        change = LowRank(getattr(module, name), rank)
        parametrize.register_parametrization(module, name, change)


def merge_low_rank(model: nn.Module) -> None:
    """Add the changes to the matrices for good; nothing where there are none."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name)


def _list_matrices(backbone: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield (module, name of its weight) of each matrix that is trained."""
    for module in backbone.modules():
        name = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if isinstance(module, nn.Linear | nn.MultiheadAttention):
            weight = getattr(module, name)
            if weight is not None and weight.requires_grad:
                yield module, name
