"""timm as a `BackboneLibrary`; names without "timm:". Importing this imports timm (seconds)."""

import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from torch import Tensor, nn

from pipeline.errors import UserError, name_choices, one_line
from pipeline.models.preprocessing import INTERPOLATIONS, USUAL_IMAGE_SIZE, Preprocessing
from pipeline.models.weights import StateDict
from pipeline.models.without_compiler import without_compiler

with without_compiler():
    import timm
    from timm.models import load_model_config_from_hf, resolve_pretrained_cfg

HUB = "hf-hub:"  # before owner/name, of a network that people have published at Hugging Face


class ChannelsFirst(nn.Module):
    """A network whose map is [B, h, w, C], with the map as [B, C, h, w]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        x = self.network(x)  # (B, h, w, C)
        return x.permute(0, 3, 1, 2)  # (B, C, h, w)


def check_name(name: str) -> None:
    """Raise UserError unless timm has this network, with this tag of weights if it names one.

    A network of the hub is looked up there, which needs a connection for the first time.
    """
    if name.startswith(HUB):
        _read_hub_settings(name)
        return
    if not timm.is_model(name):
        close = name_choices(name, timm.list_models()).partition("; did you mean ")[2]
        hint = f"; did you mean 'timm:{close[1:]}" if close else ""
        raise UserError(
            f"backbone.name: found 'timm:{name}'; allowed: timm: and one of the "
            f"{len(timm.list_models())} names of timm.list_models(){hint}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        network, _, tag = name.partition(".")
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{network}.*")]
        raise UserError(
            f"backbone.name: timm has 'timm:{network}', but no weights of it with this tag: "
            f"{name_choices(tag, tags)}"
        ) from None


def build_network(name: str, image_size: int) -> nn.Module:
    """Return the network without its last layer, with random weights."""
    return _create(name, image_size, pretrained=False)


def _create(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    settings = _find_settings(name)
    # timm takes the size only for a network whose weights depend on it.
    sized = settings is not None and settings.fixed_input_size
    options = {"img_size": image_size} if sized else {}
    return cast(nn.Module, timm.create_model(name, pretrained=pretrained, num_classes=0, **options))


def find_classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that only a weights file with a classifier has."""
    settings = _find_settings(name)
    named = settings.classifier if settings is not None else None
    return (named,) if isinstance(named, str) else tuple(named or ())


def load_pretrained(name: str, image_size: int) -> StateDict:
    """Return timm's own weights for image_size; OSError without a connection."""
    _silence_hub()
    return dict(_create(name, image_size, pretrained=True).state_dict())


def adapt_weights(state: StateDict, network: nn.Module, name: str) -> StateDict:
    """Return `state` with the names and shapes of `network`, as far as timm can adapt it.

    It knows the names of the original publications, and resamples what depends on the image size.
    """
    architecture = _read_hub_settings(name)[0] if name.startswith(HUB) else name
    # timm has no public way to the function by which it adapts its own weights to a network.
    module = sys.modules[timm.model_entrypoint(architecture).__module__]
    adapt = getattr(module, "checkpoint_filter_fn", None)
    if adapt is None:
        return state
    try:
        return dict(adapt(dict(state), network))
    except Exception:
        return state  # of another architecture, which the caller says with the names


def _find_settings(name: str) -> Any:
    """Return timm's settings of a network (its image size, mean, classifier, …), None if none."""
    return _read_hub_settings(name)[1] if name.startswith(HUB) else timm.get_pretrained_cfg(name)


def _silence_hub() -> None:
    # Without a connection, each attempt of each file would be a warning; the error says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


@cache
def _read_hub_settings(name: str) -> tuple[str, Any]:
    """Return (architecture, settings) from the config.json of a network of the hub.

    Raises:
        UserError: it cannot be read, or is of no network that timm has.
    """
    _silence_hub()
    try:
        config, architecture, _ = load_model_config_from_hf(name.removeprefix(HUB))
        if not timm.is_model(architecture):
            raise ValueError(f"its architecture '{architecture}' is none of timm's")
        return architecture, resolve_pretrained_cfg(architecture, config)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"backbone.name: found 'timm:{name}', and this network of the Hugging Face hub cannot "
            f"be read ({one_line(error)}); check owner/name and the connection, or take one of "
            "timm.list_models()"
        ) from None


def find_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing that timm's own weights were trained with."""
    settings = _find_settings(name)
    if settings is None:
        return Preprocessing()
    interpolation = settings.interpolation
    return Preprocessing(
        tuple(settings.mean),
        tuple(settings.std),
        interpolation if interpolation in INTERPOLATIONS else "bicubic",
    )


def find_image_size(name: str) -> int:
    """Return the side of the images, in pixels, that timm's own weights were trained with."""
    settings = _find_settings(name)
    return USUAL_IMAGE_SIZE if settings is None else int(settings.input_size[-1])


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
