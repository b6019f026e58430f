"""Classification networks of torchvision, by name. Importing this imports torchvision (3 s)."""

from collections.abc import Sequence
from typing import cast

import torchvision
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from pipeline.errors import UserError, name_choices
from pipeline.models.families import cut, family_of
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.weights import State


def check_name(name: str) -> None:
    """Raise UserError unless torchvision has a classification network of this name."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise UserError(f"backbone.name: {name_choices(name, [*names, 'timm:<name>'])}")


def build(name: str, image_size: int) -> nn.Module:
    """Return the whole network, classifier included, with random weights."""
    options = family_of(name).options(image_size)
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, **options))


def classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that are not features."""
    return family_of(name).classifier


def imagenet(name: str, _image_size: int) -> State:
    """Return the library's best ImageNet weights; OSError or RuntimeError without a network."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return dict(weights.get_state_dict(progress=False, check_hash=True))


def adapt(state: State, network: nn.Module) -> State:
    """Return `state` with a transformer's position embedding resized to the network's pictures."""
    key = "encoder.pos_embedding"
    if not isinstance(network, VisionTransformer) or key not in state:
        return state
    return dict(interpolate_embeddings(network.image_size, network.patch_size, state))


def preprocessing(name: str) -> Preprocessing:
    """Return what the library's own ImageNet weights were trained with."""
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    if family_of(name).symmetric:
        # The library rescales inside the network; here it is the mean and std that say so.
        return Preprocessing((0.5,) * 3, (0.5,) * 3, transforms.interpolation.value)
    return Preprocessing(
        tuple(transforms.mean), tuple(transforms.std), transforms.interpolation.value
    )


def take_trunk(network: nn.Module, name: str, _pooling: str) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, what follows the pooling)."""
    return cut(network, family_of(name))
