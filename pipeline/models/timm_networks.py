"""Networks of timm, by name without "timm:". Importing this imports timm (seconds)."""

from collections.abc import Sequence
from typing import cast

import timm
from torch import Tensor, nn

from pipeline.errors import UserError, name_choices
from pipeline.models.preprocessing import INTERPOLATIONS, Preprocessing
from pipeline.models.weights import StateDict


class ChannelsFirst(nn.Module):
    """The map of a network that works in [B, h, w, C], as [B, C, h, w]."""

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


def build(name: str, image_size: int) -> nn.Module:
    """Return the network without its last layer, with random weights."""
    return _create(name, image_size, pretrained=False)


def _create(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    settings = timm.get_pretrained_cfg(name)
    # Only a network whose weights depend on the size of its images takes the size.
    sized = settings is not None and settings.fixed_input_size
    options = {"img_size": image_size} if sized else {}
    return cast(nn.Module, timm.create_model(name, pretrained=pretrained, num_classes=0, **options))


def classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that a full weights file has beyond the features."""
    settings = timm.get_pretrained_cfg(name)
    named = settings.classifier if settings is not None else None
    return (named,) if isinstance(named, str) else tuple(named or ())


def imagenet(name: str, image_size: int) -> StateDict:
    """Return timm's own weights, fitted to image_size; OSError without a network."""
    return dict(_create(name, image_size, pretrained=True).state_dict())


def adapt(state: StateDict, _network: nn.Module, _name: str) -> StateDict:
    """Return `state` as it is: timm has fitted its own weights, and files must fit."""
    return state


def preprocessing(name: str) -> Preprocessing:
    """Return what timm's own weights were trained with."""
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return Preprocessing()
    found = settings.interpolation
    return Preprocessing(
        tuple(settings.mean),
        tuple(settings.std),
        found if found in INTERPOLATIONS else "bicubic",
    )


def take_trunk(
    network: nn.Module, _name: str, pooling: str, _level: int | str | None
) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, what follows the pooling).

    With "avg" the network's own pooling stays, since it was trained with it and what follows it
    (an average for most, the class token for some): the trunk gives vectors. Any other pooling
    replaces it, where there is a map to pool.
    """
    if pooling == "avg":
        return network, nn.Identity()
    network.reset_classifier(0, "")  # type: ignore[operator]
    last = str(getattr(network, "output_fmt", "NCHW"))
    return (ChannelsFirst(network) if last.endswith("NHWC") else network), nn.Identity()
