"""timm as a `BackboneLibrary`; names without "timm:". Importing this imports timm (seconds)."""

from collections.abc import Sequence
from typing import cast

import timm
from torch import Tensor, nn

from pipeline.errors import UserError, name_choices
from pipeline.models.preprocessing import INTERPOLATIONS, Preprocessing
from pipeline.models.weights import StateDict


class ChannelsFirst(nn.Module):
    """A network whose map is [B, h, w, C], with the map as [B, C, h, w]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        x = self.network(x)  # (B, h, w, C)
        return x.permute(0, 3, 1, 2)  # (B, C, h, w)


def check_name(name: str) -> None:
    """Raise UserError unless timm has a network of this name (with or without a weights tag)."""
    if not timm.is_model(name):
        close = name_choices(name, timm.list_models()).partition("; did you mean ")[2]
        hint = f"; did you mean 'timm:{close[1:]}" if close else ""
        raise UserError(
            f"backbone.name: found 'timm:{name}'; allowed: timm: and one of the "
            f"{len(timm.list_models())} names of timm.list_models(){hint}"
        )


def build_network(name: str, image_size: int) -> nn.Module:
    """Return the network without its last layer, with random weights."""
    return _create(name, image_size, pretrained=False)


def _create(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    settings = timm.get_pretrained_cfg(name)
    # timm takes the size only for a network whose weights depend on it.
    sized = settings is not None and settings.fixed_input_size
    options = {"img_size": image_size} if sized else {}
    return cast(nn.Module, timm.create_model(name, pretrained=pretrained, num_classes=0, **options))


def find_classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that only a weights file with a classifier has."""
    settings = timm.get_pretrained_cfg(name)
    named = settings.classifier if settings is not None else None
    return (named,) if isinstance(named, str) else tuple(named or ())


def load_pretrained(name: str, image_size: int) -> StateDict:
    """Return timm's own weights for image_size; OSError without a connection."""
    return dict(_create(name, image_size, pretrained=True).state_dict())


def adapt_weights(state: StateDict, _network: nn.Module, _name: str) -> StateDict:
    """Return `state` unchanged: timm adapts its own weights, and weights files must fit."""
    return state


def find_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing that timm's own weights were trained with."""
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return Preprocessing()
    interpolation = settings.interpolation
    return Preprocessing(
        tuple(settings.mean),
        tuple(settings.std),
        interpolation if interpolation in INTERPOLATIONS else "bicubic",
    )


def split_trunk(
    network: nn.Module, _name: str, pooling: str, _level: int | str | None
) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, the module after pooling).

    With "avg", the trunk includes the network's own pooling and the layers after it, because it
    was trained with them (most networks average, some use the class token): it gives vectors.
    Any other pooling replaces them, if the network has a map.
    """
    if pooling == "avg":
        return network, nn.Identity()
    network.reset_classifier(0, "")  # type: ignore[operator]
    output_format = str(getattr(network, "output_fmt", "NCHW"))
    return (ChannelsFirst(network) if output_format.endswith("NHWC") else network), nn.Identity()
