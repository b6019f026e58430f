"""Networks of torchvision, by name. Importing this imports torchvision (3 s)."""

import re
from collections.abc import Sequence
from typing import cast

import torchvision
from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from pipeline.errors import UserError, name_choices
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.torchvision_families import PyramidLevel, cut, family_of, level_names
from pipeline.models.weights import StateDict

# The one detector here whose published weights the library runs with frozen batch norm of eps 0.
WITHOUT_EPS = "fasterrcnn_resnet50_fpn"


def check_name(name: str) -> None:
    """Raise UserError unless this is one of torchvision's classifiers or a Faster R-CNN."""
    models = torchvision.models
    names = models.list_models(module=models)
    names += models.list_models(module=models.detection, include="fasterrcnn_*")
    if name not in names:
        raise UserError(f"backbone.name: {name_choices(name, [*names, 'timm:<name>'])}")


def build(name: str, image_size: int) -> nn.Module:
    """Return the whole network, classifier included, with random weights."""
    options = family_of(name).options(image_size)
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, **options))


def classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that are not features."""
    return family_of(name).classifier


def imagenet(name: str, _image_size: int) -> StateDict:
    """Return the library's best weights, a classifier's of ImageNet and a detector's of COCO.

    Raises:
        OSError, RuntimeError: without a connection.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return dict(weights.get_state_dict(progress=False, check_hash=True))


def adapt(state: StateDict, network: nn.Module, name: str) -> StateDict:
    """Return `state` as `network` takes it.

    A transformer's position embedding is resized to the network's images. A detector's pyramid
    gets today's names, and its frozen batch norm becomes one that can be trained.
    """
    if isinstance(network, GeneralizedRCNN):
        state = {_rename(key): value for key, value in state.items()}
        return _fold_eps(state, network) if name == WITHOUT_EPS else state
    key = "encoder.pos_embedding"
    if not isinstance(network, VisionTransformer) or key not in state:
        return state
    return dict(interpolate_embeddings(network.image_size, network.patch_size, state))


def _rename(key: str) -> str:
    # The published files are older than the library's norms inside the pyramid.
    return re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)


def _fold_eps(state: StateDict, network: nn.Module) -> StateDict:
    """Return frozen norms of eps 0 as weights that give the same in norms with an eps.

    w / sqrt(var) = w' / sqrt(var + eps) for w' = w * sqrt((var + eps) / var). An eps of 0 in the
    network itself would divide by zero in training, where a channel is dead.
    """
    folded = dict(state)
    for name, norm in network.named_modules():
        keys = {f"{name}.weight", f"{name}.running_var"}
        # A norm that was trained, not frozen, has counted its batches, and had an eps.
        frozen = keys <= state.keys() and f"{name}.num_batches_tracked" not in state
        if isinstance(norm, nn.BatchNorm2d) and frozen:
            var = state[f"{name}.running_var"]
            folded[f"{name}.weight"] = state[f"{name}.weight"] * ((var + norm.eps) / var).sqrt()
    return folded


def preprocessing(name: str) -> Preprocessing:
    """Return what the library's own weights were trained with."""
    if family_of(name).pyramid:
        # Detectors scale and resize inside, by ImageNet's mean and std and bilinearly.
        return Preprocessing()
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    if family_of(name).symmetric:
        # The library rescales inside the network; here it is the mean and std that say so.
        return Preprocessing((0.5,) * 3, (0.5,) * 3, transforms.interpolation.value)
    return Preprocessing(
        tuple(transforms.mean), tuple(transforms.std), transforms.interpolation.value
    )


def take_trunk(
    network: nn.Module, name: str, _pooling: str, level: int | str | None
) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, what follows the pooling); `level` is read where there is a pyramid.

    Raises:
        UserError: the pyramid has no such level.
    """
    family = family_of(name)
    if not family.pyramid:
        return cut(network, family)
    pyramid = network.get_submodule("backbone")
    names = level_names(pyramid)
    if str(level) not in names:
        raise UserError(
            f"backbone.level: found '{level}'; {name} has no such level; "
            f"allowed: {', '.join(names)}"
        )
    return PyramidLevel(pyramid, cast(int | str, level)), nn.Identity()
