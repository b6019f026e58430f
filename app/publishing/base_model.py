"""The published network that a model began with, by its name on the Hugging Face Hub."""

from pipeline.models.packaged_weights import PACKAGED
from pipeline.models.without_compiler import without_compiler

TIMM, OPEN_CLIP, HUB = "timm", "open_clip", "hf-hub:"


def find_base_model(backbone: str, weights: str | None) -> str | None:
    """Return OWNER/NAME on the Hub; None where the first weights are not known to be there.

    backbone, weights: as in params.yaml. The packaged weights are those of the Hub, converted by
    others.
    """
    library, _, name = backbone.partition(":")
    if weights not in (PACKAGED, "imagenet") or library not in (TIMM, OPEN_CLIP):
        return None
    if name.startswith(HUB):
        place = name.removeprefix(HUB).partition("@")[0]
    else:
        place = _place_of_timm(name) if library == TIMM else _place_of_open_clip(name)
    parts = [part for part in place.split("/") if part]
    return "/".join(parts[:2]) if len(parts) > 1 else None


def _place_of_timm(name: str) -> str:
    with without_compiler():
        import timm
    settings = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return str(getattr(settings, "hf_hub_id", None) or "")


def _place_of_open_clip(name: str) -> str:
    with without_compiler():
        import open_clip
    architecture, _, tag = name.partition(".")
    return str((open_clip.get_pretrained_cfg(architecture, tag) or {}).get("hf_hub") or "")
