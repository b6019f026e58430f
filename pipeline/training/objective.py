"""What training minimizes: a loss, the miner before it, and a memory of earlier batches."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor, nn

from pipeline.config.schema import Params
from pipeline.training.graded_losses import jaccard_relevance
from pipeline.training.losses import EmbeddingSpace, GradedLoss

Indices = tuple[Tensor, ...]


class Objective(nn.Module):
    """Embeddings [B, D] and labels [B] of a whole batch to a scalar.

    Where several processes train, each has a slice of the batch; the slices are gathered with
    their gradients, so the loss is that of one process with the whole batch.

    members: uint8 [N, L], which labels each training image has, where images have several; then
    "labels" are rows of it, and pairs count by what their label sets share. None for mined
    triplets: their mining has decided what is relevant.
    """

    members: Tensor | None

    def __init__(
        self, params: Params, *, dim: int, classes: int, members: Tensor | None = None
    ) -> None:
        super().__init__()
        loss, batches, normalize = (
            params.loss.options,
            params.batches.options,
            params.head.normalize,
        )
        space = EmbeddingSpace(dim=dim, classes=classes, normalize=normalize)
        # Data, not state: a checkpoint does not need it.
        self.register_buffer("members", members, persistent=False)
        self.miner = params.miner.options.build(normalize=space.normalize)
        if members is None:
            self.loss = loss.build(space)
        elif isinstance(loss, GradedLoss):
            self.loss = loss.build_graded(space)
        else:
            raise TypeError(f"{loss} takes no label sets, which refuse_label_sets should have said")
        self.anchor_count = batches.anchor_count
        self.of_triplets = batches.mined and loss.takes_triplets()
        self.consistent_margin = _consistent_margin(params.train.consistent_margin)
        if params.train.cross_batch_memory:
            self.loss = _memory(
                self.loss, self.miner, dim=dim, size=params.train.cross_batch_memory
            )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, float32 scalar."""
        embeddings, labels = _gather(embeddings), _gather(labels)  # (B, D), (B,)
        loss: Tensor
        if self.members is not None:
            loss = self.loss(embeddings, jaccard_relevance(self.members[labels]))
        else:
            loss = self.loss(embeddings, labels, self._chosen(embeddings, labels))
        if self.consistent_margin is not None:
            loss = loss + self.consistent_margin(embeddings, labels)
        return loss

    def _chosen(self, embeddings: Tensor, labels: Tensor) -> Indices | None:
        if self.of_triplets:
            return torch.arange(len(labels), device=labels.device).reshape(3, -1).unbind()
        if hasattr(self.loss, "embedding_memory"):
            return None  # a memory applies the miner to all embeddings that it holds
        chosen: Indices | None = None
        if self.miner is not None:
            chosen = self.miner(embeddings.detach(), labels)
        if self.anchor_count is None:
            return chosen
        return _of_the_first(self.anchor_count, chosen or get_all_pairs_indices(labels))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the memory's position, which pytorch-metric-learning keeps outside its buffers."""
        return {name: getattr(self.loss, name) for name in _POSITION if hasattr(self.loss, name)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the memory's position from `get_extra_state`."""
        for name, value in state.items():
            setattr(self.loss, name, value)


class NestedObjective(nn.Module):
    """The mean of the objective of embeddings [B, D] and of the first numbers of each.

    So the first numbers alone are an embedding too (Kusupati et al.: Matryoshka Representation
    Learning, 2022). Each length has weights and a memory of its own.

    lengths: of the first numbers, each below `dim`. Else as `Objective`.
    """

    def __init__(
        self,
        params: Params,
        *,
        dim: int,
        lengths: Sequence[int],
        classes: int,
        members: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.lengths, self.normalize = [*lengths, dim], params.head.normalize
        self.objectives = nn.ModuleList(
            Objective(params, dim=length, classes=classes, members=members)
            for length in self.lengths
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, float32 scalar."""
        losses = []
        for length, objective in zip(self.lengths, self.objectives, strict=True):
            first = embeddings[:, :length]
            if self.normalize:
                first = nn.functional.normalize(first, dim=1)
            losses.append(objective(first, labels))
        return torch.stack(losses).mean()


_POSITION = ("queue_idx", "has_been_filled")


def _of_the_first(anchors: int, chosen: Indices) -> Indices:
    """Return the triplets (a, p, n) or pairs (a, p), (a, n) whose a is one of the first images."""
    parts = [chosen] if len(chosen) == 3 else [chosen[:2], chosen[2:]]
    return tuple(rows[part[0] < anchors] for part in parts for rows in part)


def _consistent_margin(cosines: Sequence[float] | None) -> nn.Module | None:
    """Return a loss of embeddings [B, D] and labels [B] beside the loss proper.

    Mean of least - s over the pairs of a class with a cosine s of at most `least`, and of s - most
    over the pairs of others with one of at least `most` (Zhang et al.: Threshold-Consistent Margin
    Loss for Open-World Deep Metric Learning, ICLR 2024). cosines: [least, most].
    """
    if cosines is None:
        return None
    from pytorch_metric_learning.losses import ThresholdConsistentMarginLoss

    least, most = cosines
    margin: nn.Module = ThresholdConsistentMarginLoss(margin_plus=least, margin_minus=most)
    return margin


def _memory(loss: nn.Module, miner: nn.Module | None, *, dim: int, size: int) -> nn.Module:
    from pytorch_metric_learning.losses import CrossBatchMemory

    memory: nn.Module = CrossBatchMemory(loss, embedding_size=dim, memory_size=size, miner=miner)
    return memory


def _gather(values: Tensor) -> Tensor:
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return values
    gathered: Tensor = _Gather.apply(values)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """The values of all processes, in the order of their ranks, with their gradients.

    The gradient is summed over the processes here and averaged by DistributedDataParallel, which
    gives the gradient of the whole batch.
    """

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:  # type: ignore[override]
        shares = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(shares, values.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        of_all = gradient.contiguous().clone()
        torch.distributed.all_reduce(of_all)
        return of_all.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]
