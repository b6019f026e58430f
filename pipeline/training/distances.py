"""Euclidean distances of embeddings, for losses and miners."""

import torch
from pytorch_metric_learning.distances import BaseDistance, LpDistance
from torch import Tensor


class EuclideanDistance(LpDistance):  # type: ignore[misc]
    """The library's Euclidean distance, with the same bits on every processor.

    On a CPU, torch would take it from a matrix product: near points then lose digits, and MKL's
    square root rounds otherwise on processors of another maker.
    """

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor | None) -> Tensor:
        """Return the distance of each pair, float [B, R]; without `ref_emb` R is B."""
        if query_emb.device.type != "cpu":
            distances: Tensor = super().compute_mat(query_emb, ref_emb)
            return distances
        others = query_emb if ref_emb is None else ref_emb
        return torch.cdist(query_emb, others, p=self.p, compute_mode="donot_use_mm_for_euclid_dist")


def replace_euclidean(default: BaseDistance, *, normalize: bool) -> dict[str, object]:
    """Return the argument `distance` for a loss or miner whose own is Euclidean; {} for others.

    normalize: whether the embeddings have unit length. Where they do not, they are compared as
    they are; the library would normalize them.
    """
    if not isinstance(default, LpDistance):
        return {}
    return {"distance": EuclideanDistance(normalize_embeddings=normalize, power=default.power)}
