"""The settings of a run that its report shows: of each choice, only the chosen block."""

from pathlib import Path
from typing import Any

from pipeline.choices import Choice
from pipeline.dotted_settings import flatten
from pipeline.params import Params

# `launch` changes how a run is started and `track` where it is written down, never its figures.
HIDDEN = ("launch", "track")
# Those that a reader looks for first.
MAIN = (
    "data.name",
    "split.protocol",
    "backbone.name",
    "backbone.weights",
    "backbone.image_size",
    "head.name",
    "head.dim",
    "loss.name",
    "miner.name",
    "batches.name",
    "optimizer.name",
    "train.epochs",
    "index.distance",
    "seed",
)
PATHS = ("backbone.weights",)


def chosen_settings(params: Params) -> dict[str, Any]:
    """Return dotted key -> value, of each choice its name and the chosen block.

    `data.source` is left out: it is a place on one machine, and no setting.
    """
    chosen: dict[str, Any] = {}
    for section in type(params).model_fields:
        value = getattr(params, section)
        if section in HIDDEN:
            continue
        if isinstance(value, Choice):
            chosen[section] = {"name": value.name, value.name: value.options}
        else:
            chosen[section] = value.model_dump() if hasattr(value, "model_dump") else value
    return flatten(chosen)


def main_settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (key, text) of the settings that a reader looks for first."""
    # Of a file of weights its name: the folders before it are one machine's.
    texts = {key: show_setting(settings[key]) for key in MAIN}
    return [(key, Path(text).name if key in PATHS else text) for key, text in texts.items()]


def show_setting(value: Any) -> str:
    """Return a value as params.yaml spells it.

    >>> show_setting(None), show_setting(True), show_setting([1, 5]), show_setting({})
    ('null', 'true', '[1, 5]', 'none')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and not value:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(show_setting(item) for item in value)}]"
    return str(value)
