"""What of a model training leaves as it is."""

from torch import nn

from pipeline.config.schema import TrainParams
from pipeline.errors import UserError
from pipeline.models.embedder import Embedder
from pipeline.models.layers import list_layers
from pipeline.training.processes import batch_norms


def freeze(model: Embedder, train: TrainParams) -> None:
    """Mark the weights that `train.freeze` and `train.freeze_layers` name as not trained.

    Raises:
        UserError: so many layers leave nothing of the backbone to train.
    """
    frozen: dict[str, list[nn.Module]] = {
        "none": [],
        "batch_norm": list(batch_norms(model)),
        "backbone": [model.backbone],
    }
    for module in frozen[train.freeze]:
        module.requires_grad_(False)
    if train.freeze_layers == 0:
        return
    layers = list_layers(model.backbone)
    for layer in layers[: train.freeze_layers]:
        for weight in layer:
            weight.requires_grad_(False)
    if _is_frozen(model.backbone):
        raise UserError(
            f"train.freeze_layers: found {train.freeze_layers}; {model.spec.backbone} has "
            f"{len(layers)} layers, so nothing of it is left to train; allowed: fewer, or "
            "train.freeze backbone"
        )


def frozen_parts(model: Embedder, train: TrainParams) -> list[nn.Module]:
    """Return the modules that are in training what they are in use, as their weights are.

    Their batch norms keep their statistics, and nothing is dropped out in them.
    """
    norms = list(batch_norms(model)) if train.freeze == "batch_norm" else []
    return [*norms, *(part for part in model.modules() if _is_frozen(part))]


def _is_frozen(part: nn.Module) -> bool:
    weights = list(part.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)
