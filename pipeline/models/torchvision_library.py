"""torchvision as a `BackboneLibrary`. Importing this imports torchvision (1 s)."""

import re
from collections.abc import Sequence
from typing import cast

from torch import nn

from pipeline.errors import UserError, name_choices
from pipeline.models.preprocessing import USUAL_IMAGE_SIZE, Preprocessing
from pipeline.models.torchvision_families import (
    PyramidLevel,
    find_family,
    list_levels,
    split_classifier,
)
from pipeline.models.weights import StateDict
from pipeline.models.without_compiler import without_compiler

with without_compiler():
    import torchvision
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

# The only detector whose published weights the library runs with frozen batch norm of eps 0.
WITHOUT_EPS = "fasterrcnn_resnet50_fpn"


def check_name(name: str) -> None:
    """Raise UserError unless this is one of torchvision's classifiers or a Faster R-CNN."""
    models = torchvision.models
    names = models.list_models(module=models)
    names += models.list_models(module=models.detection, include="fasterrcnn_*")
    if name not in names:
        raise UserError(f"backbone.name: {name_choices(name, [*names, 'timm:<name>'])}")


def build_network(name: str, image_size: int) -> nn.Module:
    """Return the whole network, classifier included, with random weights."""
    options = find_family(name).options(image_size)
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, **options))


def find_classifier(name: str) -> Sequence[str]:
    """Return the names of the modules that a backbone leaves out."""
    return find_family(name).classifier


def load_pretrained(name: str, _image_size: int) -> StateDict:
    """Return the library's best weights, trained on ImageNet, or for a detector on COCO.

    Raises:
        OSError, RuntimeError: without a connection.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return dict(weights.get_state_dict(progress=False, check_hash=True))


def adapt_weights(state: StateDict, network: nn.Module, name: str) -> StateDict:
    """Return `state` with the names and shapes of `network`.

    A transformer's position embedding is resized to the image size. A detector's pyramid gets the
    names of this version of torchvision, and its frozen batch norm becomes a trainable one.
    """
    if isinstance(network, GeneralizedRCNN):
        state = {_rename(key): value for key, value in state.items()}
        return _fold_eps(state, network) if name == WITHOUT_EPS else state
    key = "encoder.pos_embedding"
    if not isinstance(network, VisionTransformer) or key not in state:
        return state
    try:
        return dict(interpolate_embeddings(network.image_size, network.patch_size, state))
    except ValueError:
        return state  # not of square images; its shape does not fit, which the caller says


def _rename(key: str) -> str:
    # torchvision added norms inside the pyramid after these files were published.
    return re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)


def _fold_eps(state: StateDict, network: nn.Module) -> StateDict:
    """Return frozen norms of eps 0 as weights with the same result in norms with an eps.

    w / sqrt(var) = w' / sqrt(var + eps) for w' = w * sqrt((var + eps) / var). With an eps of 0 in
    the network, training would divide by zero if a channel is dead.
    """
    folded = dict(state)
    for name, norm in network.named_modules():
        keys = {f"{name}.weight", f"{name}.running_var"}
        # A trained norm, unlike a frozen one, has a counter of batches, and had an eps.
        frozen = keys <= state.keys() and f"{name}.num_batches_tracked" not in state
        if isinstance(norm, nn.BatchNorm2d) and frozen:
            var = state[f"{name}.running_var"]
            folded[f"{name}.weight"] = state[f"{name}.weight"] * (var / (var + norm.eps)).rsqrt()
    return folded


def find_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing that the library's own weights were trained with."""
    if find_family(name).pyramid:
        # Detectors normalise by ImageNet's mean and std and resize bilinearly, inside the model.
        return Preprocessing()
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    if find_family(name).symmetric:
        # The library rescales to [-1, 1] inside the network; here mean and std do it.
        return Preprocessing((0.5,) * 3, (0.5,) * 3, transforms.interpolation.value)
    return Preprocessing(
        tuple(transforms.mean), tuple(transforms.std), transforms.interpolation.value
    )


def find_image_size(name: str) -> int:
    """Return the side of the images, in pixels, that the library's best weights are used with."""
    if find_family(name).pyramid:
        return USUAL_IMAGE_SIZE  # a detector takes images of any size
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return int(transforms.crop_size[0])


def split_trunk(
    network: nn.Module, name: str, _pooling: str, level: int | str | None
) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, the module after pooling); only a feature pyramid uses `level`.

    Raises:
        UserError: the pyramid has no such level.
    """
    family = find_family(name)
    if not family.pyramid:
        return split_classifier(network, family)
    pyramid = network.get_submodule("backbone")
    levels = list_levels(pyramid)
    if str(level) not in levels:
        raise UserError(
            f"backbone.level: found '{level}'; {name} has no such level; "
            f"allowed: {', '.join(levels)}"
        )
    return PyramidLevel(pyramid, cast(int | str, level)), nn.Identity()
