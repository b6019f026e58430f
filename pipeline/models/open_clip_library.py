"""open_clip as a `BackboneLibrary`: the image side of models that also understand text.

Names are without "open_clip:". Importing this imports open_clip (seconds). The text side is in
text_side.py.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from torch import Tensor, nn

from pipeline.errors import UserError, name_choices, one_line
from pipeline.models.preprocessing import INTERPOLATIONS, Preprocessing
from pipeline.models.weights import StateDict
from pipeline.models.without_compiler import without_compiler

with without_compiler():
    import open_clip
    from open_clip import hf_model
    from open_clip.factory import load_checkpoint
    from open_clip.model import resize_pos_embed
    from open_clip.pretrained import (
        download_pretrained,
        download_pretrained_from_hf,
        get_pretrained_cfg,
        list_pretrained_tags_by_model,
    )

HUB, FOLDER = "hf-hub:", "local-dir:"
CONFIG_FILE = "open_clip_config.json"


@dataclass(frozen=True)
class _Name:
    """architecture: of open_clip, or HUB or FOLDER and a place. tag: of weights, "" for none."""

    architecture: str
    tag: str


def check_name(name: str) -> None:
    """Raise UserError unless open_clip has this model, with this tag of weights if it names one.

    A model of the hub is looked up there, which needs a connection for the first time.
    """
    parts = _split(name)
    if _has_place(parts):
        _read_config(parts.architecture)
        return
    if parts.architecture not in open_clip.list_models():
        close = name_choices(parts.architecture, open_clip.list_models())
        hint = close.partition("; did you mean ")[2]
        raise UserError(
            f"backbone.name: found 'open_clip:{name}'; allowed: open_clip: and one of the "
            f"{len(open_clip.list_models())} names of open_clip.list_models(), or hf-hub: and "
            "owner/name, or local-dir: and a folder"
            + (f"; did you mean 'open_clip:{hint[1:]}" if hint else "")
        )
    if not parts.tag:
        return
    settings = get_pretrained_cfg(parts.architecture, parts.tag)
    if not settings:
        tags = list_pretrained_tags_by_model(parts.architecture)
        raise UserError(
            f"backbone.name: open_clip has 'open_clip:{parts.architecture}', but no weights of it "
            f"with this tag: {name_choices(parts.tag, tags)}"
        )
    quick = bool(settings.get("quick_gelu", False))
    if quick != bool(_read_config(parts.architecture)["model_cfg"].get("quick_gelu", False)):
        other = parts.architecture.removesuffix("-quickgelu") + "-quickgelu" * quick
        raise UserError(
            f"backbone.name: found 'open_clip:{name}', whose weights were trained with another "
            f"activation; take 'open_clip:{other}.{parts.tag}'"
        )


def build_network(name: str, image_size: int) -> nn.Module:
    """Return the image side, with random weights."""
    return cast(nn.Module, build_model(name, image_size).visual)


def build_model(name: str, image_size: int | None = None) -> Any:
    """Return both sides of a model, with random weights.

    image_size: pixels; None for the model's own.
    """
    architecture = _split(name).architecture
    config = {**_read_config(architecture)["model_cfg"]}
    vision, text = {**config["vision_cfg"]}, {**config["text_cfg"]}
    if "multimodal_cfg" in config:
        raise UserError(
            f"backbone.name: found 'open_clip:{name}', which also writes captions (CoCa); "
            "allowed: models of two sides, as ViT-B-32"
        )
    if "hf_model_name" in text and hf_model.transformers is None:
        raise _without_transformers(name)
    if image_size is not None:
        vision["image_size"] = image_size
    # Weights of one side alone would be fetched, and then be replaced.
    vision["timm_model_pretrained"] = text["hf_model_pretrained"] = False
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    build = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    return build(**config | {"vision_cfg": vision, "text_cfg": text})


def build_tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """Return a function from N texts to int64 [N, L], cut at the L that the model takes.

    Raises:
        UserError: it is one that has to be fetched, and cannot be.
    """
    try:
        return cast(
            Callable[[list[str]], Tensor], open_clip.get_tokenizer(_split(name).architecture)
        )
    except (ImportError, AttributeError, TypeError):  # what open_clip does without the package
        raise _without_transformers(name) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"backbone.name: found 'open_clip:{name}', and what cuts its texts into words cannot "
            f"be fetched ({one_line(error)})"
        ) from None


def _without_transformers(name: str) -> UserError:
    return UserError(
        f"backbone.name: found 'open_clip:{name}', whose texts need a package that is not "
        "installed; run: uv pip install transformers sentencepiece"
    )


def find_classifier(_name: str) -> Sequence[str]:
    """Return no module: the image side is what its weights are of."""
    return ()


def load_pretrained(name: str, image_size: int) -> StateDict:
    """Return the weights of the image side that the name's tag, hub or folder has.

    Raises:
        OSError, RuntimeError: they cannot be fetched, or there are none.
    """
    return dict(load_both_sides(name, image_size).visual.state_dict())


def load_both_sides(name: str, image_size: int | None = None) -> Any:
    """Return a model with the weights that the name's tag, hub or folder has; see `build_model`.

    Raises:
        OSError, RuntimeError: they cannot be fetched, or there are none.
    """
    _silence_hub()
    model = build_model(name, image_size)
    load_checkpoint(model, str(_find_weights(_split(name))))
    return model


def adapt_weights(state: StateDict, network: nn.Module, _name: str) -> StateDict:
    """Return `state` with position embeddings resampled to the network's image size."""
    whole = {f"visual.{key}": value for key, value in state.items()}
    resize_pos_embed(whole, SimpleNamespace(visual=network))
    return {key.removeprefix("visual."): value for key, value in whole.items()}


def find_preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing that the model's weights were trained with, but that images are cut
    to a square, never squeezed."""
    parts = _split(name)
    settings = _read_config(parts.architecture).get("preprocess_cfg", {})
    if parts.tag:
        settings = get_pretrained_cfg(parts.architecture, parts.tag)
    interpolation = settings.get("interpolation", "bicubic")
    return Preprocessing(
        tuple(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        tuple(settings.get("std") or open_clip.OPENAI_DATASET_STD),
        interpolation if interpolation in INTERPOLATIONS else "bicubic",
    )


def find_image_size(name: str) -> int:
    """Return the side of the images, in pixels, that the model was trained with."""
    size = _read_config(_split(name).architecture)["model_cfg"]["vision_cfg"]["image_size"]
    return int(size[0] if isinstance(size, list | tuple) else size)


def split_trunk(
    network: nn.Module, _name: str, _pooling: str, _level: int | str | None
) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, the module after pooling): the image side pools by itself."""
    return network, nn.Identity()


def _split(name: str) -> _Name:
    if name.startswith((HUB, FOLDER)):
        return _Name(name, "")
    architecture, _, tag = name.partition(".")
    return _Name(architecture, tag)


def _has_place(name: _Name) -> bool:
    return name.architecture.startswith((HUB, FOLDER))


@cache
def _read_config(architecture: str) -> dict[str, Any]:
    """Return a model's `model_cfg` and, of the hub or a folder, its `preprocess_cfg`.

    Raises:
        UserError: they cannot be read, or are of no model of images and texts.
    """
    if not architecture.startswith((HUB, FOLDER)):
        return {"model_cfg": open_clip.get_model_config(architecture)}
    _silence_hub()
    try:
        config = json.loads(_find_config(architecture).read_text(encoding="utf-8"))
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config["model_cfg"]):
            raise ValueError("its model_cfg lacks embed_dim, vision_cfg or text_cfg")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"backbone.name: found 'open_clip:{architecture}', and its {CONFIG_FILE} cannot be "
            f"read ({one_line(error)}); check the name and the connection, or take one of "
            "open_clip.list_models()"
        ) from None
    return cast(dict[str, Any], config)


def _find_config(architecture: str) -> Path:
    if architecture.startswith(FOLDER):
        return Path(architecture.removeprefix(FOLDER)) / CONFIG_FILE
    hub = architecture.removeprefix(HUB)
    return Path(download_pretrained_from_hf(hub, filename=CONFIG_FILE))


def _find_weights(name: _Name) -> Path:
    if name.architecture.startswith(FOLDER):
        folder = Path(name.architecture.removeprefix(FOLDER))
        found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        if len(found) != 1:
            raise OSError(f"{folder} holds {len(found)} files of weights, not one")
        return found[0]
    if name.architecture.startswith(HUB):
        return Path(download_pretrained_from_hf(name.architecture.removeprefix(HUB)))
    if not name.tag:
        tags = list_pretrained_tags_by_model(name.architecture)
        raise OSError(
            f"the name says no tag of weights, as {name.architecture}.{tags[0] if tags else '…'}"
        )
    return Path(download_pretrained(get_pretrained_cfg(name.architecture, name.tag)))


def _silence_hub() -> None:
    # Without a connection, each attempt of each file would be a warning; the error says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
