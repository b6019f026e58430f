"""Losses by name. A new loss is one class here, one line of LOSSES and a block in params.yaml.

A class is read with params.yaml, so torch is imported by what it builds and not before.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pipeline.options import Count, Counts, NonNegative, Positive, Section, Share

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["pairs", "listwise", "classification"]


@dataclass(frozen=True)
class EmbeddingSpace:
    """What a loss compares: embeddings [B, dim] of labels 0…classes-1.

    normalize: whether the embeddings have unit length. Where they do not, losses on Euclidean
    distance take them as they are; pytorch-metric-learning would normalize them.
    """

    dim: int
    classes: int
    normalize: bool


class Loss(Section):
    """A loss with its options.

    kind: what it compares.
        pairs: images with each other. A miner or a cross-batch memory may choose the pairs, and in
            a batch of mined triplets the triplets are all that it sees.
        listwise: the ranking of the batch for each query. No pairs are chosen.
        classification: each image with trained weights, one set for each class.
    whole_batch: a loss on pairs that sees every pair of a batch of mined triplets, by label.
    library_class: its class in pytorch_metric_learning.losses, whose arguments the options are.
    """

    kind: ClassVar[Kind]
    whole_batch: ClassVar[bool] = False
    library_class: ClassVar[str]

    def __init_subclass__(cls, *, family: bool = False, **others: Any) -> None:
        """Refuse a class that does not say what it is. family: it is a base of losses, not one."""
        super().__init_subclass__(**others)
        if not family and getattr(cls, "kind", None) not in get_args(Kind):
            raise TypeError(f"{cls.__name__}: a loss needs `kind`: {', '.join(get_args(Kind))}")
        if not family and cls.build is Loss.build and not hasattr(cls, "library_class"):
            raise TypeError(f"{cls.__name__}: a loss needs `library_class` or a `build` of its own")

    @classmethod
    def takes_pairs(cls) -> bool:
        """Return whether a miner or a memory may choose what is compared."""
        return cls.kind == "pairs"

    @classmethod
    def takes_triplets(cls) -> bool:
        """Return whether mined triplets are all that it sees of a batch of them."""
        return cls.takes_pairs() and not cls.whole_batch

    @classmethod
    def needs_positives(cls) -> bool:
        """Return whether an image needs another one of its class in the batch."""
        return cls.kind != "classification"

    @classmethod
    def takes_label_sets(cls) -> bool:
        """Return whether images of several labels can train it without mined triplets."""
        return issubclass(cls, GradedLoss)

    def build(self, space: EmbeddingSpace, /) -> "nn.Module":
        """Return the loss: embeddings [B, D], labels [B] and the indices tuple of the chosen pairs
        or triplets (None: all) to a scalar."""
        from pytorch_metric_learning import losses

        from pipeline.training.distances import replace_euclidean

        library_class = getattr(losses, self.library_class)
        arguments = self.model_dump()
        if self.kind == "classification":
            arguments |= {"num_classes": space.classes, "embedding_size": space.dim}
        own = library_class.get_default_distance(None)
        arguments |= replace_euclidean(own, normalize=space.normalize)
        built: nn.Module = library_class(**arguments)
        return built


class GradedLoss(Loss, family=True):
    """A loss that has a form for images of several labels, in graded_losses.py."""

    def build_graded(self, space: EmbeddingSpace, /) -> "nn.Module":
        """Return the loss: embeddings [B, D] and the relevance of each pair [B, B] to a scalar."""
        raise NotImplementedError


class TripletLoss(GradedLoss):
    kind = "pairs"
    library_class = "TripletMarginLoss"
    margin: NonNegative
    swap: bool

    def build_graded(self, space: EmbeddingSpace, /) -> "nn.Module":
        from pipeline.training.graded_losses import GradedTriplet

        return GradedTriplet(margin=self.margin, swap=self.swap, normalize=space.normalize)


class ContrastiveLoss(Loss):
    kind = "pairs"
    library_class = "ContrastiveLoss"
    pos_margin: float
    neg_margin: float


class SupConLoss(GradedLoss):
    kind = "pairs"
    whole_batch = True
    library_class = "SupConLoss"
    temperature: Positive

    def build_graded(self, _: EmbeddingSpace, /) -> "nn.Module":
        from pipeline.training.graded_losses import GradedSupCon

        return GradedSupCon(temperature=self.temperature)


class SmoothAPLoss(Loss):
    kind = "listwise"
    temperature: Positive

    def build(self, _: EmbeddingSpace, /) -> "nn.Module":
        from pipeline.training.listwise_losses import SmoothAP

        return SmoothAP(temperature=self.temperature)


class RecallAtKLoss(Loss):
    kind = "listwise"
    k: Counts
    temperature: Positive

    def build(self, _: EmbeddingSpace, /) -> "nn.Module":
        from pipeline.training.listwise_losses import RecallAtK

        return RecallAtK(k=self.k, temperature=self.temperature)


class MultiSimilarityLoss(Loss):
    kind = "pairs"
    library_class = "MultiSimilarityLoss"
    alpha: Positive
    beta: Positive
    base: float


class NTXentLoss(Loss):
    kind = "pairs"
    library_class = "NTXentLoss"
    temperature: Positive


class CircleLoss(Loss):
    kind = "pairs"
    library_class = "CircleLoss"
    m: Positive
    gamma: Positive


class MarginLoss(Loss):
    kind = "pairs"
    library_class = "MarginLoss"
    margin: NonNegative
    beta: Positive
    nu: NonNegative
    learn_beta: bool


class ArcFaceLoss(Loss):
    kind = "classification"
    library_class = "ArcFaceLoss"
    margin: NonNegative
    scale: Positive


class CosFaceLoss(Loss):
    kind = "classification"
    library_class = "CosFaceLoss"
    margin: NonNegative
    scale: Positive


class SubCenterArcFaceLoss(ArcFaceLoss):
    library_class = "SubCenterArcFaceLoss"
    sub_centers: Count


class ProxyNCALoss(Loss):
    kind = "classification"
    library_class = "ProxyNCALoss"
    softmax_scale: Positive


class ProxyAnchorLoss(Loss):
    kind = "classification"
    library_class = "ProxyAnchorLoss"
    margin: NonNegative
    alpha: Positive


class SoftTripleLoss(Loss):
    kind = "classification"
    library_class = "SoftTripleLoss"
    centers_per_class: Count
    la: Positive
    gamma: Positive
    margin: NonNegative


class CrossEntropyLoss(Loss):
    kind = "classification"
    temperature: Positive
    label_smoothing: Share

    def build(self, space: EmbeddingSpace, /) -> "nn.Module":
        from pipeline.training.cross_entropy import CrossEntropy

        return CrossEntropy(
            dim=space.dim,
            classes=space.classes,
            temperature=self.temperature,
            label_smoothing=self.label_smoothing,
        )


LOSSES: dict[str, type[Loss]] = {
    "triplet": TripletLoss,
    "contrastive": ContrastiveLoss,
    "supcon": SupConLoss,
    "smooth_ap": SmoothAPLoss,
    "recall_at_k": RecallAtKLoss,
    "multi_similarity": MultiSimilarityLoss,
    "ntxent": NTXentLoss,
    "circle": CircleLoss,
    "margin": MarginLoss,
    "arcface": ArcFaceLoss,
    "cosface": CosFaceLoss,
    "sub_center_arcface": SubCenterArcFaceLoss,
    "proxy_nca": ProxyNCALoss,
    "proxy_anchor": ProxyAnchorLoss,
    "soft_triple": SoftTripleLoss,
    "cross_entropy": CrossEntropyLoss,
}
