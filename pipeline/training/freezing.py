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
        UserError: the backbone has no more layers than that.
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
    if train.freeze_layers >= len(layers):
        raise UserError(
            f"train.freeze_layers: found {train.freeze_layers}; allowed: less than the layers of "
            f"{model.spec.backbone}, which are {len(layers)}, or train.freeze backbone"
        )
    for layer in layers[: train.freeze_layers]:
        for weight in layer:
            weight.requires_grad_(False)


def fixed_norms(model: Embedder, train: TrainParams) -> list[nn.Module]:
    """Return the batch norms whose statistics stay as they are, as their weights do."""
    return [
        norm for norm in batch_norms(model) if train.freeze == "batch_norm" or not _is_trained(norm)
    ]


def _is_trained(norm: nn.Module) -> bool:
    weights = list(norm.parameters())
    return not weights or any(weight.requires_grad for weight in weights)
