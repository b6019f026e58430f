"""Miners by name, on pytorch-metric-learning: which pairs or triplets of a batch count."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.choices import NonNegative, Options, Positive

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Miner:
    """`target`: its class in pytorch_metric_learning.miners, None for all pairs."""

    target: str | None
    options: Options = field(default_factory=dict)


MINERS: dict[str, Miner] = {
    "none": Miner(None),
    "triplet_margin": Miner(
        "TripletMarginMiner",
        {"margin": NonNegative, "type_of_triplets": Literal["all", "hard", "semihard", "easy"]},
    ),
    "batch_hard": Miner("BatchHardMiner"),
    "multi_similarity": Miner("MultiSimilarityMiner", {"epsilon": float}),
    "pair_margin": Miner("PairMarginMiner", {"pos_margin": float, "neg_margin": float}),
    "distance_weighted": Miner(
        "DistanceWeightedMiner", {"cutoff": NonNegative, "nonzero_loss_cutoff": Positive}
    ),
}


def build_miner(name: str, options: dict[str, Any], *, normalize: bool) -> "nn.Module | None":
    """Return the miner `name`, or None: embeddings [B, D] and labels [B] give an indices tuple.

    normalize: as in `losses.build_loss`; distance_weighted is defined for unit length only.
    """
    from pytorch_metric_learning import distances, miners

    target = MINERS[name].target
    if target is None:
        return None
    kind = getattr(miners, target)
    arguments = dict(options)
    by_distance = isinstance(kind.get_default_distance(None), distances.LpDistance)
    if not normalize and by_distance and name != "distance_weighted":
        arguments["distance"] = distances.LpDistance(normalize_embeddings=False)
    built: nn.Module = kind(**arguments)
    return built
