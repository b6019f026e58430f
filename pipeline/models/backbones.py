"""Networks of torchvision and timm as feature extractors: no classifier, no detector."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.torchvision_families import PyramidLevel
from pipeline.models.weights import StateDict, put_weights, read_weights

TIMM = "timm:"


class Backbone(nn.Module):
    """Images [B, 3, H, W] -> a map [B, C, h, w] to be pooled, or vectors [B, C].

    Attributes:
        features: the vector's size after pooling and `after_pool`: C, or C * h * w flattened.
        spatial: whether the output is a map.
        level: of the feature pyramid; None where the network has none.
    """

    def __init__(
        self, trunk: nn.Module, after_pool: nn.Module, *, shape: Sequence[int], pooling: str
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self._after_pool = after_pool
        self.features = math.prod(shape[1:]) if pooling == "flatten" else shape[1]
        self.spatial = len(shape) == 4
        self.level = trunk.level if isinstance(trunk, PyramidLevel) else None

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.trunk(x))

    def after_pool(self, pooled: Tensor) -> Tensor:
        """Return [B, features] normalised as the network was trained to, if its family does so."""
        if isinstance(self._after_pool, nn.Identity):
            return pooled
        # ConvNeXt's norm takes [B, C, 1, 1], MaxViT's [B, C]; flat LayerNorm of C is both, and
        # of a flattened map it is taken at each place.
        norm = cast(nn.LayerNorm, self._after_pool)
        places = pooled.reshape(len(pooled), norm.normalized_shape[0], -1).mT  # (B, places, C)
        normed = nn.functional.layer_norm(
            places, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return normed.mT.flatten(1)


class NetworkLibrary(Protocol):
    """What torchvision_networks and timm_networks both offer; arguments go by position."""

    def check_name(self, name: str, /) -> None: ...
    def build(self, name: str, image_size: int, /) -> nn.Module: ...
    def classifier(self, name: str, /) -> Sequence[str]: ...
    def imagenet(self, name: str, image_size: int, /) -> StateDict: ...
    def adapt(self, state: StateDict, network: nn.Module, name: str, /) -> StateDict: ...
    def preprocessing(self, name: str, /) -> Preprocessing: ...
    def take_trunk(
        self, network: nn.Module, name: str, pooling: str, level: int | str | None, /
    ) -> tuple[nn.Module, nn.Module]: ...


def library_of(name: str) -> tuple[NetworkLibrary, str]:
    """Return the library of a backbone and the backbone's name there, imported only now.

    Raises:
        UserError: the library has no network of this name.
    """
    library = _library(name)
    plain = name.removeprefix(TIMM)
    library.check_name(plain)
    return library, plain


def _library(name: str) -> NetworkLibrary:
    # Imported only now: torchvision takes three seconds, timm more.
    if name.startswith(TIMM):
        from pipeline.models import timm_networks

        return cast(NetworkLibrary, timm_networks)
    from pipeline.models import torchvision_networks

    return cast(NetworkLibrary, torchvision_networks)


def preprocessing_of(name: str) -> Preprocessing:
    """Return how the backbone's library feeds it images."""
    library, plain = library_of(name)
    return library.preprocessing(plain)


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
        name: an architecture of torchvision, or "timm:" and one of timm.
        image_size: pixels of the square images that it will see.
        pooling: "avg", "gem" or "flatten", which is applied after it.
        level: of a detector's feature pyramid; not read for networks without one.
        weights: None (random, drawn from `seed`), "imagenet" (the library's own, downloaded; for
            a detector they are COCO's), or a file.

    Raises:
        UserError: an unknown name, a size, pooling or level it cannot take, weights that do not
            fit.
    """
    library, plain = library_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = library.build(plain, image_size)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _wrong_size(name, image_size, error) from None
    if weights is not None:
        state = _state(library, plain, image_size, weights)
        put_weights(
            network,
            library.adapt(state, network, plain),
            optional=library.classifier(plain),
            where=f"backbone.weights: {weights} into {name}",
        )
    trunk, after_pool = library.take_trunk(network, plain, pooling, level)
    shape = _output_shape(trunk, name, image_size)
    backbone = Backbone(trunk, after_pool, shape=shape, pooling=pooling).eval()
    if pooling != "avg" and not backbone.spatial:
        raise UserError(
            f"backbone.pooling: found '{pooling}'; {name} gives no map to pool, only one vector "
            "for each image; allowed: avg"
        )
    return backbone


def _state(library: NetworkLibrary, name: str, image_size: int, weights: str | Path) -> StateDict:
    if str(weights) != "imagenet":
        return read_weights(Path(weights))
    try:
        return library.imagenet(name, image_size)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"backbone.weights: found 'imagenet', and the download for {name} failed ({reason}); "
            "pass a .safetensors or .pt file"
        ) from None


def _output_shape(trunk: nn.Module, name: str, image_size: int) -> torch.Size:
    # On the meta device shapes are computed and no arithmetic is done.
    tensors = {key: value.to("meta") for key, value in trunk.state_dict(keep_vars=True).items()}
    tensors |= {key: value.to("meta") for key, value in trunk.named_buffers()}
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    trunk.eval()
    try:
        with torch.no_grad():
            shape = cast(Tensor, torch.func.functional_call(trunk, tensors, (image,))).shape
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _wrong_size(name, image_size, error) from None
    return shape if len(shape) in (2, 4) else shape[:1] + shape[-1:] + shape[1:-1]


def _wrong_size(name: str, image_size: int, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"backbone.image_size: found {image_size}; {name} does not take images of that size "
        f"({reason}); choose another, 224 suits most"
    )
