"""Backbones: networks of torchvision, timm and open_clip without their classifier or detector.

A new family of torchvision is a line of FAMILIES in torchvision_families.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from pipeline.errors import UserError, one_line
from pipeline.models.packaged_weights import PACKAGED, load_packaged
from pipeline.models.pooling import POOLINGS
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.torchvision_families import PyramidLevel
from pipeline.models.weights import StateDict, load_weights, read_weights, select_weights

TIMM_PREFIX, OPEN_CLIP_PREFIX = "timm:", "open_clip:"


class Backbone(nn.Module):
    """Images [B, 3, H, W] -> a map [B, C, h, w] to be pooled, or vectors [B, C].

    Attributes:
        feature_dim: the vector's size after pooling and `after_pool`.
        has_map: whether the output is a map.
        level: of the feature pyramid; None if the network has none.
    """

    def __init__(
        self, trunk: nn.Module, after_pool: nn.Module, *, shape: Sequence[int], pooling: str
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self._after_pool = after_pool
        self.has_map = len(shape) == 4
        pooled = POOLINGS[pooling].values_per_channel(*shape[2:]) if self.has_map else 1
        self.feature_dim = shape[1] * pooled
        self.level = trunk.level if isinstance(trunk, PyramidLevel) else None

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.trunk(x))

    def after_pool(self, pooled: Tensor) -> Tensor:
        """Return [B, feature_dim], with the layer norm that some families apply after pooling."""
        if isinstance(self._after_pool, nn.Identity):
            return pooled
        # ConvNeXt's norm takes [B, C, 1, 1], MaxViT's [B, C]. A LayerNorm over C equals both, and
        # normalises a flattened map position by position.
        norm = cast(nn.LayerNorm, self._after_pool)
        positions = pooled.reshape(len(pooled), norm.normalized_shape[0], -1).mT  # (B, h * w, C)
        normed = nn.functional.layer_norm(
            positions, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return normed.mT.flatten(1)


class BackboneLibrary(Protocol):
    """The functions of torchvision_library and of the others; arguments go by position."""

    def check_name(self, name: str, /) -> None: ...
    def build_network(self, name: str, image_size: int, /) -> nn.Module: ...
    def find_classifier(self, name: str, /) -> Sequence[str]: ...
    def load_pretrained(self, name: str, image_size: int, /) -> StateDict: ...
    def adapt_weights(self, state: StateDict, network: nn.Module, name: str, /) -> StateDict: ...
    def find_preprocessing(self, name: str, /) -> Preprocessing: ...
    def find_image_size(self, name: str, /) -> int: ...
    def split_trunk(
        self, network: nn.Module, name: str, pooling: str, level: int | str | None, /
    ) -> tuple[nn.Module, nn.Module]: ...


def find_library(name: str) -> tuple[BackboneLibrary, str]:
    """Return the library of a backbone, and the backbone's name in that library.

    Raises:
        UserError: the library has no network of this name.
    """
    library = _import_library(name)
    name_in_library = name.removeprefix(TIMM_PREFIX).removeprefix(OPEN_CLIP_PREFIX)
    library.check_name(name_in_library)
    return library, name_in_library


def _import_library(name: str) -> BackboneLibrary:
    # Imported when needed: torchvision takes a second, the others more.
    if name.startswith(TIMM_PREFIX):
        from pipeline.models import timm_library

        return cast(BackboneLibrary, timm_library)
    if name.startswith(OPEN_CLIP_PREFIX):
        from pipeline.models import open_clip_library

        return cast(BackboneLibrary, open_clip_library)
    from pipeline.models import torchvision_library

    return cast(BackboneLibrary, torchvision_library)


def find_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing of images that the backbone's library uses."""
    library, name_in_library = find_library(name)
    return library.find_preprocessing(name_in_library)


def find_image_size(name: str) -> int:
    """Return the side of the square images, in pixels, that the library's own weights are for."""
    library, name_in_library = find_library(name)
    return library.find_image_size(name_in_library)


def build_backbone(
    name: str,
    image_size: int,
    *,
    pooling: str,
    level: int | str | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
) -> Backbone:
    """Return a backbone in eval mode.

    Args:
        name: an architecture of torchvision, "timm:" and one of timm, or "open_clip:" and one of
            open_clip.
        image_size: pixels of the square images that the network will get.
        pooling: a name of POOLINGS; the caller applies it after the backbone.
        level: of a detector's feature pyramid; ignored for networks without one.
        weights: None (random, sampled from `seed`), "packaged" (installed, of WEIGHTS_FILES),
            "imagenet" (the library's own, downloaded; those of a detector are trained on COCO), or
            a file.

    Raises:
        UserError: an unknown name; a size, pooling or level that the network does not take;
            weights that do not fit.
    """
    library, name_in_library = find_library(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = library.build_network(name_in_library, image_size)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _wrong_size(name, image_size, error) from None
    if weights is not None:
        state = (
            load_packaged(name, network)
            if weights == PACKAGED
            else _read_state(library, name_in_library, image_size, weights)
        )
        classifier = library.find_classifier(name_in_library)
        state = select_weights(state, network, optional=classifier)
        load_weights(
            network,
            library.adapt_weights(state, network, name_in_library),
            optional=classifier,
            where=f"backbone.weights: {weights} into {name}",
        )
    trunk, after_pool = library.split_trunk(network, name_in_library, pooling, level)
    shape = _compute_output_shape(trunk, name, image_size)
    backbone = Backbone(trunk, after_pool, shape=shape, pooling=pooling).eval()
    if pooling != "avg" and not backbone.has_map:
        raise UserError(
            f"backbone.pooling: found '{pooling}'; {name} gives no map to pool, only one vector "
            "for each image; allowed: avg"
        )
    return backbone


def _read_state(
    library: BackboneLibrary, name: str, image_size: int, weights: str | Path
) -> StateDict:
    if str(weights) != "imagenet":
        return read_weights(Path(weights))
    try:
        return library.load_pretrained(name, image_size)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"backbone.weights: found 'imagenet', and the download for {name} failed "
            f"({one_line(error)}); pass a .safetensors or .pt file"
        ) from None


def _compute_output_shape(trunk: nn.Module, name: str, image_size: int) -> torch.Size:
    # Not on the meta device, which computes nothing, but by Python that imports torch's compiler.
    image = torch.zeros(1, 3, image_size, image_size)
    trunk.eval()
    try:
        with torch.inference_mode():
            shape = cast(Tensor, trunk(image)).shape
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _wrong_size(name, image_size, error) from None
    return shape if len(shape) in (2, 4) else shape[:1] + shape[-1:] + shape[1:-1]


def _wrong_size(name: str, image_size: int, error: Exception) -> UserError:
    return UserError(
        f"backbone.image_size: found {image_size}; {name} does not take images of that size "
        f"({one_line(error)}); choose another, 224 suits most"
    )
