"""params.yaml with some values changed, for tests."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from pipeline.config.load import read_yaml
from tests.helpers.paths import ROOT

PARAMS = ROOT / "params.yaml"
GONE = object()  # as a value: remove the key


def overlaid(changes: Mapping[str, Any]) -> Any:
    """Return the values of the project's params.yaml with `changes`: dotted key -> value.

    `__` in a key means a dot, so that keys can be keyword arguments.
    """
    values = deepcopy(_read())
    overlay(values, changes)
    return values


@cache
def _read() -> Any:
    """Return the values of params.yaml, whose many comments take most of a tenth of a second."""
    return read_yaml(PARAMS)


def overlay(values: Any, changes: Mapping[str, Any]) -> None:
    """Change `values` in place; a missing section raises KeyError."""
    for key, value in changes.items():
        *path, last = key.replace("__", ".").split(".")
        section = values
        for part in path:
            section = section[part]
        if value is GONE:
            del section[last]
        else:
            section[last] = value
