"""Average precision as a loss."""

import torch
from torch import Tensor, nn


class SmoothAP(nn.Module):
    """Mean over a batch of 1 - AP (Brown et al., "Smooth-AP", ECCV 2020), on cosine similarity.

    The queries are the images with a positive in the batch, or the anchors of the chosen pairs.
    AP of query q: the mean over its positives i, q among them, of rank+(i) / rank(i), where
    rank(i) = 1 + sum over j != i of sigmoid((s_qj - s_qi) / temperature), and rank+ is that sum
    over positives j alone. Not pytorch-metric-learning's: its 2.9.0 mistakes K images of P
    classes for P images of K classes.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self, embeddings: Tensor, labels: Tensor, chosen: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the loss, scalar, of embeddings [B, D] and labels [B]."""
        unit = nn.functional.normalize(embeddings, dim=1)
        same = labels[:, None] == labels  # (B, B)
        if chosen is None:
            queries = (same.sum(dim=1) > 1).nonzero()[:, 0]
        else:
            queries = torch.unique(chosen[0])
        if not len(queries):
            return (embeddings * 0).sum()
        similar = unit[queries] @ unit.T  # (Q, B)
        positive = same[queries].to(unit.dtype)  # (Q, B)
        above = torch.sigmoid((similar[:, None, :] - similar[:, :, None]) / self.temperature)
        above = above * (1 - torch.eye(len(unit), device=unit.device))  # (Q, i, j)
        rank = 1 + above.sum(dim=2)  # (Q, i)
        among_positives = 1 + torch.einsum("qij,qj->qi", above, positive)  # (Q, i)
        precision = positive * among_positives / rank
        return 1 - (precision.sum(dim=1) / positive.sum(dim=1)).mean()
