"""Settings as people read them: by dotted key, as loss.triplet.margin, and as text."""

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots: {"a": {"b": 1}} is {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def keep_chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of params.yaml, but of each choice the chosen block alone.

    >>> keep_chosen({"loss": {"name": "circle", "circle": {"m": 0.4}, "triplet": {"margin": 0.1}}})
    {'loss': {'name': 'circle', 'circle': {'m': 0.4}}}
    """
    return {section: _keep_chosen_block(value) for section, value in values.items()}


def _keep_chosen_block(section: Any) -> Any:
    chosen = section.get("name") if isinstance(section, Mapping) else None
    if not isinstance(chosen, str) or not isinstance(section.get(chosen), Mapping):
        return section
    return {
        key: value
        for key, value in section.items()
        if key == chosen or not isinstance(value, Mapping)
    }


def show_value(value: Any) -> str:
    """Return a value as params.yaml spells it, and an empty block as none.

    >>> show_value(None), show_value(True), show_value([1, 5]), show_value({})
    ('null', 'true', '[1, 5]', 'none')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and not value:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(show_value(item) for item in value)}]"
    return str(value)
