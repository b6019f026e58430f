"""params.yaml as others may see it: what is known to be harmless, and nothing else.

A value that may name a person, a machine or a secret is told by no rule, so that only what is of a
known form stays.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from pipeline.models.packaged_weights import PACKAGED

Key = tuple[str, ...]

IMAGENET = "imagenet"  # the word in params.yaml for weights that the library of a network fetches
# Those of a fresh project, in place of what is of one machine or network.
FIXED: Mapping[Key, str | None] = MappingProxyType({
    ("launch",): "python",
    ("cluster",): None,
    ("track", "experiment"): "lookalike",
    ("data", "source"): None,
    ("added", "source"): None,
})  # fmt: skip
NAME = r"[a-zA-Z0-9_][\w.+-]*"
WORD = re.compile(r"[a-zA-Z0-9_][\w.:+-]*", re.ASCII)
OF_HUB = re.compile(rf"{NAME}(?:/{NAME})?", re.ASCII)  # OWNER/NAME
# A network that others can build: of torchvision, timm, open_clip, or one of the Hub.
NETWORK = re.compile(
    rf"{NAME}|(?:timm|open_clip):(?:{NAME}|hf-hub:{NAME}/{NAME}(?:@{NAME})?)", re.ASCII
)
# With a host that has a dot and ends in letters, which is no address of numbers; without a port.
HTTPS = re.compile(r"https://(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}(?:/[\w.+-]*)*", re.ASCII)
# The keys whose values are no words.
FORMS = {
    ("backbone", "name"): NETWORK,
    ("data", "huggingface", "path"): OF_HUB,
    ("data", "huggingface", "revision"): re.compile(rf"refs/(?:convert|pr)/{NAME}|{NAME}", re.A),
    ("index", "factory"): re.compile(r"\w+(?:,\w+)*", re.ASCII),
}
WEIGHTS = ("backbone", "weights")


def without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of params.yaml: of texts, those that are words, names of the Hub or plain
    addresses of the web; null for others.

    Of a file of weights its name stays: null would say that they were random.

    >>> without_places({"data": {"source": "images"}, "launch": "/home/me/python", "seed": 7})
    {'data': {'source': None}, 'launch': 'python', 'seed': 7}
    """
    return _share_mapping(values, ())


def is_public_network(name: str) -> bool:
    """Return whether backbone.name is one that others can build too.

    >>> [is_public_network(name) for name in ("open_clip:local-dir:/srv/clip", "timm:resnet50")]
    [False, True]
    """
    return NETWORK.fullmatch(name) is not None


def is_public_address(url: str) -> bool:
    """Return whether a URL may be shown: https, without user, port, query and fragment.

    >>> urls = ("https://a.org/b.zip", "https://me:token@a.org/b.zip", "https://a.org/b?sig=1")
    >>> [is_public_address(url) for url in urls]
    [True, False, False]
    """
    return HTTPS.fullmatch(url) is not None


def is_hub_name(text: str) -> bool:
    """Return whether a text has the form of NAME or OWNER/NAME on the Hugging Face Hub."""
    return OF_HUB.fullmatch(text) is not None


def name_weights(weights: str) -> str:
    """Return backbone.weights as others may see it: of a file its name.

    >>> name_weights("/home/me/own.safetensors"), name_weights("imagenet")
    ('own.safetensors', 'imagenet')
    """
    if weights in (PACKAGED, IMAGENET):
        return weights
    name = re.split(r"[/\\]", weights)[-1]
    if WORD.fullmatch(name):
        return name
    suffix = PurePosixPath(name).suffix
    return f"weights{suffix if suffix in ('.safetensors', '.pt') else ''}"


def _share_mapping(values: Mapping[str, Any], key: Key) -> dict[str, Any]:
    names = [name for name in values if isinstance(name, str) and WORD.fullmatch(name)]
    return {name: _share(values[name], (*key, name)) for name in names}


def _share(value: Any, key: Key) -> Any:
    if key in FIXED:
        return FIXED[key]
    if isinstance(value, Mapping):
        return _share_mapping(value, key)
    if isinstance(value, list):
        return [_share(each, key) for each in value]
    if isinstance(value, str):
        return _share_text(value, key)
    return value if isinstance(value, bool | int | float) else None


def _share_text(text: str, key: Key) -> str | None:
    if key == WEIGHTS:
        return name_weights(text)
    if key[0] == "data" and key[-1] == "url":
        return text if is_public_address(text) else None
    return text if FORMS.get(key, WORD).fullmatch(text) else None
