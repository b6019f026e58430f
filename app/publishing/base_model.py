"""The published network that a model began with: its name on the Hugging Face Hub, its weights."""

import re

from app.publishing.shared_params import IMAGENET, name_weights
from pipeline.models.packaged_weights import PACKAGED
from pipeline.models.without_compiler import without_compiler

TIMM, OPEN_CLIP, HUB = "timm", "open_clip", "hf-hub:"
OF_IMAGENET = re.compile(r"(?:^|_)in(?:1|12|21|22)k(?:_|$)")  # in timm's tags of weights


def find_base_model(backbone: str, weights: str | None) -> str | None:
    """Return OWNER/NAME on the Hub; None where the first weights are not known to be there.

    backbone, weights: as in params.yaml. The packaged weights are those of the Hub, converted by
    others.
    """
    library, _, name = backbone.partition(":")
    if weights not in (PACKAGED, IMAGENET) or library not in (TIMM, OPEN_CLIP):
        return None
    if name.startswith(HUB):
        place = name.removeprefix(HUB).partition("@")[0]
    else:
        place = _place_of_timm(name) if library == TIMM else _place_of_open_clip(name)
    parts = [part for part in place.split("/") if part]
    return "/".join(parts[:2]) if len(parts) > 1 else None


def describe_first_weights(backbone: str, weights: str | None) -> str:
    """Return in words which weights a network had before training; as of `find_base_model`.

    >>> describe_first_weights("resnet18", "imagenet")
    'ImageNet weights'
    """
    if weights is None:
        return "random weights"
    if weights not in (PACKAGED, IMAGENET):
        return f"weights of a file, `{name_weights(weights)}`"
    library, _, name = backbone.partition(":")
    if weights == PACKAGED or (library == TIMM and OF_IMAGENET.search(_tag_of_timm(name))):
        return "ImageNet weights"
    if library in (TIMM, OPEN_CLIP):
        return "the weights that are published by this name"
    return "COCO weights" if library.startswith("fasterrcnn") else "ImageNet weights"


def _place_of_timm(name: str) -> str:
    return _read_timm(name, "hf_hub_id")


def _tag_of_timm(name: str) -> str:
    return _read_timm(name, "tag")


def _read_timm(name: str, key: str) -> str:
    with without_compiler():
        import timm
    settings = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return str(getattr(settings, key, None) or "")


def _place_of_open_clip(name: str) -> str:
    with without_compiler():
        import open_clip
    architecture, _, tag = name.partition(".")
    return str((open_clip.get_pretrained_cfg(architecture, tag) or {}).get("hf_hub") or "")
