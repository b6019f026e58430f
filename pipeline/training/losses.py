"""Losses by name, on pytorch-metric-learning. A new loss is one line of LOSSES and its block."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config.choices import Count, NonNegative, Options, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """`target`: its class in pytorch_metric_learning.losses, or in this file. `sized`: it has
    weights of its own, one set a class, and so is told how many classes and dimensions there are.
    """

    target: str
    options: Options = field(default_factory=dict)
    sized: bool = False


LOSSES: dict[str, Loss] = {
    "triplet": Loss("TripletMarginLoss", {"margin": NonNegative, "swap": bool}),
    "contrastive": Loss("ContrastiveLoss", {"pos_margin": float, "neg_margin": float}),
    "supcon": Loss("SupConLoss", {"temperature": Positive}),
    "smooth_ap": Loss("SmoothAP", {"temperature": Positive}),
    "multi_similarity": Loss(
        "MultiSimilarityLoss", {"alpha": Positive, "beta": Positive, "base": float}
    ),
    "ntxent": Loss("NTXentLoss", {"temperature": Positive}),
    "circle": Loss("CircleLoss", {"m": Positive, "gamma": Positive}),
    "margin": Loss(
        "MarginLoss",
        {"margin": NonNegative, "beta": Positive, "nu": NonNegative, "learn_beta": bool},
    ),
    "arcface": Loss("ArcFaceLoss", {"margin": NonNegative, "scale": Positive}, sized=True),
    "proxy_anchor": Loss("ProxyAnchorLoss", {"margin": NonNegative, "alpha": Positive}, sized=True),
    "soft_triple": Loss(
        "SoftTripleLoss",
        {"centers_per_class": Count, "la": Positive, "gamma": Positive, "margin": NonNegative},
        sized=True,
    ),
    "cross_entropy": Loss(
        "CrossEntropy", {"temperature": Positive, "label_smoothing": Share}, sized=True
    ),
}
# Losses on pairs or triplets: of a batch of mined triplets these are all they look at. Others see
# the labels of the whole batch.
TAKES_TRIPLETS = {"triplet", "contrastive", "multi_similarity", "circle", "ntxent", "margin"}
# Losses that images of several labels can be trained with: they have a form for label sets, in
# graded_losses.py. All others compare one label with another.
TAKES_LABEL_SETS = {"supcon", "triplet"}


def build_loss(
    name: str, options: dict[str, Any], *, dim: int, classes: int, normalize: bool
) -> "nn.Module":
    """Return the loss `name`: called with embeddings [B, D], labels [B] in 0…classes-1 and, where
    pairs or triplets were chosen, their indices tuple, it returns a scalar.

    dim: D. normalize: whether the embeddings have unit length; where they have not, losses on
    Euclidean distance take them as they are, instead of normalising them on the quiet.
    """
    from pytorch_metric_learning import distances, losses

    loss = LOSSES[name]
    arguments = dict(options)
    if loss.sized:
        arguments |= {"num_classes": classes, "embedding_size": dim}
    if name == "cross_entropy":
        return _cross_entropy(**arguments)
    if name == "smooth_ap":
        return _smooth_ap(**arguments)
    kind = getattr(losses, loss.target)
    if not normalize and isinstance(kind.get_default_distance(None), distances.LpDistance):
        arguments["distance"] = distances.LpDistance(normalize_embeddings=False)
    built: nn.Module = kind(**arguments)
    return built


def _cross_entropy(
    *, num_classes: int, embedding_size: int, temperature: float, label_smoothing: float
) -> "nn.Module":
    import torch

    class CrossEntropy(torch.nn.Module):
        """softmax cross-entropy of (W e + b) / temperature, W [classes, D] trained along."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = torch.nn.Linear(embedding_size, num_classes)

        def forward(self, embeddings: "Tensor", labels: "Tensor", _: Any = None) -> "Tensor":
            logits = self.classifier(embeddings) / temperature  # (B, classes)
            return torch.nn.functional.cross_entropy(
                logits, labels, label_smoothing=label_smoothing
            )

    return CrossEntropy()


def _smooth_ap(*, temperature: float) -> "nn.Module":
    import torch

    class SmoothAP(torch.nn.Module):
        """Mean over a batch of 1 - AP (Brown et al., "Smooth-AP", ECCV 2020), on cosine similarity.

        Asked by those that have a positive in the batch, or by the anchors of the chosen pairs.
        AP of q: the mean over its positives i, q among them, of rank+(i) / rank(i), where rank(i)
        = 1 + sum over j != i of sigmoid((s_qj - s_qi) / temperature), and rank+ is that sum over
        positives j alone. Not pytorch-metric-learning's: its 2.9.0 takes K images of P classes
        for P images of K classes.
        """

        def forward(
            self,
            embeddings: "Tensor",
            labels: "Tensor",
            chosen: "tuple[Tensor, ...] | None" = None,
        ) -> "Tensor":
            unit = torch.nn.functional.normalize(embeddings, dim=1)
            same = labels[:, None] == labels  # (B, B)
            asking = (
                (same.sum(dim=1) > 1).nonzero()[:, 0] if chosen is None else torch.unique(chosen[0])
            )
            if not len(asking):
                return (embeddings * 0).sum()
            similar = unit[asking] @ unit.T  # (Q, B)
            positive = same[asking].to(unit.dtype)  # (Q, B)
            above = torch.sigmoid((similar[:, None, :] - similar[:, :, None]) / temperature)
            above = above * (1 - torch.eye(len(unit), device=unit.device))  # (Q, i, j)
            rank = 1 + above.sum(dim=2)  # (Q, i)
            among_positives = 1 + torch.einsum("qij,qj->qi", above, positive)  # (Q, i)
            precision = positive * among_positives / rank
            return 1 - (precision.sum(dim=1) / positive.sum(dim=1)).mean()

    return SmoothAP()
