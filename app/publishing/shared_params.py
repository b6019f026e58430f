"""params.yaml as others may see it: without what is of one machine."""

import re
from pathlib import PurePath
from typing import Any

from pipeline.models.packaged_weights import PACKAGED

# The keys whose values are places of one machine or one network.
OF_ONE_MACHINE = (("data", "source"), ("added", "source"), ("cluster",))
# An absolute path or one of a home, at the beginning of a word: not the slashes of a URL.
PATH = re.compile(r"(?:^|[\s='\"]|:(?!//))(?:/|~|[A-Za-z]:\\)")


def without_places(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of params.yaml, null where they are a path or an address of one machine.

    Of a file of weights its name stays: null would say that they were random.

    >>> without_places({"data": {"source": "images"}, "launch": "/home/me/python", "seed": 7})
    {'data': {'source': None}, 'launch': None, 'seed': 7}
    """
    shared: dict[str, Any] = _without_paths(values)
    for *sections, key in OF_ONE_MACHINE:
        inner = shared
        for section in sections:
            inner = inner.get(section) or {}
        if key in inner:
            inner[key] = None
    if weights := (values.get("backbone") or {}).get("weights"):
        shared["backbone"]["weights"] = name_weights(weights)
    return shared


def has_path(text: str) -> bool:
    """Return whether a text has a path in it that is of one machine.

    >>> [has_path(text) for text in ("open_clip:local-dir:/srv/clip", "https://a.b/c", "timm:a/b")]
    [True, False, False]
    """
    return PATH.search(text) is not None


def name_weights(weights: str) -> str:
    """Return backbone.weights as others may see it: of a file its name.

    >>> name_weights("/home/me/own.safetensors"), name_weights("imagenet")
    ('own.safetensors', 'imagenet')
    """
    return weights if weights in (PACKAGED, "imagenet") else PurePath(weights).name


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_paths(inner) for inner in value]
    return None if isinstance(value, str) and has_path(value) else value
