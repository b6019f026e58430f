"""Miners by name, on pytorch-metric-learning: which pairs or triplets of a batch count."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.options import NonNegative, Positive, Section

if TYPE_CHECKING:
    from torch import nn


class Miner(Section):
    """A miner with its options.

    library_class: its class in pytorch_metric_learning.miners, whose arguments the options are;
    None: all pairs count. unit_length: it normalizes the embeddings, because it is defined for
    unit length only.
    """

    library_class: ClassVar[str | None]
    unit_length: ClassVar[bool] = False

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        if not hasattr(cls, "library_class"):
            raise TypeError(f"{cls.__name__}: a miner needs `library_class`, which may be None")

    def build(self, *, normalize: bool) -> "nn.Module | None":
        """Return the miner, or None: embeddings [B, D] and labels [B] give an indices tuple.

        normalize: as in `losses.EmbeddingSpace`.
        """
        if self.library_class is None:
            return None
        from pytorch_metric_learning import miners

        from pipeline.training.distances import replace_euclidean

        library_class = getattr(miners, self.library_class)
        arguments = self.model_dump()
        own = library_class.get_default_distance(None)
        arguments |= replace_euclidean(own, normalize=normalize or self.unit_length)
        built: nn.Module = library_class(**arguments)
        return built


class NoMiner(Miner):
    library_class = None


class TripletMarginMiner(Miner):
    library_class = "TripletMarginMiner"
    margin: NonNegative
    type_of_triplets: Literal["all", "hard", "semihard", "easy"]


class BatchHardMiner(Miner):
    library_class = "BatchHardMiner"


class MultiSimilarityMiner(Miner):
    library_class = "MultiSimilarityMiner"
    epsilon: float


class PairMarginMiner(Miner):
    library_class = "PairMarginMiner"
    pos_margin: float
    neg_margin: float


class DistanceWeightedMiner(Miner):
    library_class = "DistanceWeightedMiner"
    unit_length = True
    cutoff: NonNegative
    nonzero_loss_cutoff: Positive


MINERS: dict[str, type[Miner]] = {
    "none": NoMiner,
    "triplet_margin": TripletMarginMiner,
    "batch_hard": BatchHardMiner,
    "multi_similarity": MultiSimilarityMiner,
    "pair_margin": PairMarginMiner,
    "distance_weighted": DistanceWeightedMiner,
}
