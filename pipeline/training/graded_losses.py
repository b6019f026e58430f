"""Losses for images of several labels: a pair counts by what its label sets share.

Where every set has one label, the relevance of a pair is 1 or 0, and each loss here equals that of
pytorch-metric-learning with the same name, to rounding.
"""

import torch
from torch import Tensor, nn

from pipeline.data.label_sets import LabelSets
from pipeline.training.distances import EuclideanDistance


def membership(labels: LabelSets) -> Tensor:
    """Return which labels each of N images has, uint8 [N, L], L = greatest label + 1.

    As a whole in memory, so that the sets of a batch are one lookup: 9 MB for the 118,000 images
    and 80 labels of COCO.
    """
    members = torch.zeros((len(labels), int(labels.values.max()) + 1), dtype=torch.uint8)
    rows = torch.repeat_interleave(
        torch.arange(len(labels)), torch.from_numpy(labels.starts).diff()
    )
    members[rows, torch.from_numpy(labels.values).long()] = 1
    return members


def jaccard_relevance(members: Tensor) -> Tensor:
    """Return the relevance of each pair, float32 [B, B], of members uint8 [B, L].

    w_ij = |Y_i and Y_j| / |Y_i or Y_j|, the Jaccard index of two label sets; w_ii = 0, for an
    image is not its own positive. Weighting the pairs of a contrastive loss by it is the idea of
    Lin et al., "An Effective Deployment of Contrastive Learning in Multi-label Text
    Classification", Findings of ACL 2023 (their JSCL).
    """
    has = members.float()  # (B, L); counts of up to 2 ** 24 labels are exact
    common = has @ has.T  # (B, B)
    sizes = has.sum(dim=1)
    relevance = common / (sizes[:, None] + sizes - common)
    return relevance.fill_diagonal_(0)


class GradedSupCon(nn.Module):
    """L_i = - sum_p w_ip log( exp(s_ip / t) / sum_{a != i} exp(s_ia / t) ) / sum_p w_ip.

    s: cosine similarity, t: temperature, w: relevance. This is Khosla et al., "Supervised
    Contrastive Learning", NeurIPS 2020, equation 2, with the mean over positives weighted, which
    is the form of the y-Aware InfoNCE of Dufumier et al., "Contrastive Learning with Continuous
    Proxy Meta-Data for 3D MRI Classification", MICCAI 2021: their weight is a Gaussian of a
    difference in age, the one here is the Jaccard index. (Lin et al., see `jaccard_relevance`, put
    that index into the denominator instead, by their published code; with sets of one label
    that is not SupCon.)

    As in pytorch-metric-learning the mean is over the anchors whose loss is not zero, so those
    without a positive do not count; and a batch where all pairs are equally relevant has a loss of
    zero, because there is nothing to rank.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, relevance: Tensor) -> Tensor:
        """Return the loss, scalar, of embeddings [B, D] and relevance [B, B], diagonal 0."""
        unit = nn.functional.normalize(embeddings, dim=1)
        diagonal = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        pairs = relevance[~diagonal].to(unit.dtype)
        if pairs.numel() == 0 or pairs.min() == pairs.max():
            return (embeddings * 0).sum()
        scaled = (unit @ unit.T / self.temperature).masked_fill(diagonal, -torch.inf)  # (B, B)
        log_share = scaled.log_softmax(dim=1).masked_fill(diagonal, 0.0)
        weights = relevance.to(unit.dtype)
        sums = weights.sum(dim=1)  # (B,)
        losses = -(weights * log_share).sum(dim=1) / sums.where(sums > 0, 1.0)
        return _mean_of_positive(losses, torch.ones_like(losses))


class GradedTriplet(nn.Module):
    """max(0, d_ap - d_an + margin) over all (a, p, n) of the batch with w_ap > w_an, each
    weighted by w_ap - w_an; the weighted mean of those that are not zero.

    d: Euclidean distance, w: relevance. All triplets of a ranking by relevance, each weighted by
    the difference in gain, are Zhao et al., "Deep Semantic Ranking Based Hashing for Multi-Label
    Image Retrieval", CVPR 2015. Their gain is 2 ** (common labels), for codes in Hamming
    space; the Jaccard index as gain, the distance and the mean are this project's, so that sets
    of one label give the triplet loss of pytorch-metric-learning. A negative may thus share
    labels with the anchor, but fewer than the positive does: where one label is in most images,
    as "person" in COCO, few pairs of a batch share nothing. Such a negative has a small weight; one
    that shares nothing has w_ap.

    swap: d_pn replaces d_an where it is less (Balntas et al., BMVC 2016). normalize: as in
    `losses.EmbeddingSpace`. Memory: a few arrays [B, B, B], 1 MB each for a batch of 64.
    """

    def __init__(self, *, margin: float, swap: bool, normalize: bool) -> None:
        super().__init__()
        self.margin, self.swap = margin, swap
        self.distance = EuclideanDistance(normalize_embeddings=normalize)

    def forward(self, embeddings: Tensor, relevance: Tensor) -> Tensor:
        """Return the loss, scalar, of embeddings [B, D] and relevance [B, B], diagonal 0."""
        apart = self.distance(embeddings)  # (B, B)
        far = apart[:, None, :]  # (a, 1, n)
        if self.swap:
            far = torch.minimum(far, apart[None, :, :])  # (a, p, n)
        hinge = torch.relu(apart[:, :, None] - far + self.margin)  # (a, p, n)
        weights = (relevance[:, :, None] - relevance[:, None, :]).clamp(min=0).to(hinge.dtype)
        weights.diagonal(dim1=0, dim2=2).zero_()  # n = a: no image is its own negative
        return _mean_of_positive(hinge, weights)


def _mean_of_positive(losses: Tensor, weights: Tensor) -> Tensor:
    # pytorch-metric-learning's AvgNonZeroReducer, weighted. If nothing is left, it is a zero that
    # still has a gradient.
    counted = weights * (losses > 0)
    return (counted * losses).sum() / counted.sum().clamp(min=torch.finfo(losses.dtype).tiny)
