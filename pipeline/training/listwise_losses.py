"""Losses on the ranking of a batch for each of its images, on cosine similarity.

The queries are the images with a positive in the batch, or the anchors of the chosen pairs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Chosen = tuple[Tensor, ...] | None


class SmoothAP(nn.Module):
    """Mean over a batch of 1 - AP (Brown et al., "Smooth-AP", ECCV 2020).

    AP of query q: the mean over its positives i, q among them, of rank+(i) / rank(i), where
    rank(i) = 1 + sum over j != i of sigmoid((s_qj - s_qi) / temperature), and rank+ is that sum
    over positives j alone. Not pytorch-metric-learning's: its 2.9.0 mistakes K images of P
    classes for P images of K classes.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor, chosen: Chosen = None) -> Tensor:
        """Return the loss, scalar, of embeddings [B, D] and labels [B]."""
        unit = nn.functional.normalize(embeddings, dim=1)
        same = labels[:, None] == labels  # (B, B)
        queries = _find_queries(same.sum(dim=1) - 1, chosen)
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


class RecallAtK(nn.Module):
    """Mean over a batch and over several k of 1 - recall@k (Patel et al., "Recall@k Surrogate Loss
    with Large Batches and Similarity Mixup", CVPR 2022, without the mixup).

    recall@k of query q: the sum over its positives i of sigmoid((k - rank(i)) / k), at most k,
    divided by k or by the number of its positives, whichever is less. The temperature of k is that
    of their published code. rank(i) = 1 + sum over j of sigmoid((s_qj - s_qi) / temperature), j
    neither i nor q.
    """

    def __init__(self, *, k: Sequence[int], temperature: float) -> None:
        super().__init__()
        self.k, self.temperature = k, temperature

    def forward(self, embeddings: Tensor, labels: Tensor, chosen: Chosen = None) -> Tensor:
        """Return the loss, scalar, of embeddings [B, D] and labels [B]."""
        unit = nn.functional.normalize(embeddings, dim=1)
        same = (labels[:, None] == labels).fill_diagonal_(fill_value=False)  # (B, B)
        queries = _find_queries(same.sum(dim=1), chosen)
        if not len(queries):
            return (embeddings * 0).sum()
        positive = same[queries]  # (Q, B)
        # Of each positive pair alone, not of all: a batch of thousands has few pairs that count.
        q, i = positive.nonzero().unbind(dim=1)  # (N,) each
        similar = unit[queries] @ unit.T  # (Q, B)
        above = torch.sigmoid((similar[q] - similar[q, i][:, None]) / self.temperature)  # (N, B)
        others = torch.ones_like(above, dtype=torch.bool)
        others.scatter_(1, torch.stack([queries[q], i], dim=1), value=False)
        rank = 1 + (above * others).sum(dim=1)  # (N,)
        counts, recalls = positive.sum(dim=1), []  # (Q,)
        for k in self.k:
            found = torch.zeros_like(similar)
            found[q, i] = torch.sigmoid((k - rank) / k)
            recalls.append(found.sum(dim=1).clamp(max=k) / counts.clamp(min=1, max=k))
        return 1 - torch.stack(recalls).mean()


def _find_queries(positives: Tensor, chosen: Chosen) -> Tensor:
    """Return the rows of the queries, int64 [Q]; positives: int [B], how many each image has."""
    return positives.nonzero()[:, 0] if chosen is None else torch.unique(chosen[0])
