"""The settings of a run that its report shows: of each choice, only the chosen block."""

from pathlib import Path
from typing import Any

from pipeline.config.choices import Choice
from pipeline.config.dotted_keys import flatten, show_value
from pipeline.config.schema import Params

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
# Of a file its name is shown: the folders before it are one machine's.
PATHS = ("backbone.weights",)


def shown_params(params: Params) -> dict[str, Any]:
    """Return dotted key -> value, of each choice its name and the chosen block.

    Of a path it is the name. `data.source` is left out: it is a place on one machine, and no
    setting.
    """
    chosen: dict[str, Any] = {}
    for section in type(params).model_fields:
        value = getattr(params, section)
        if section in HIDDEN:
            continue
        if isinstance(value, Choice):
            chosen[section] = {"name": value.name, value.name: value.model_dump()[value.name]}
        else:
            chosen[section] = value.model_dump() if hasattr(value, "model_dump") else value
    settings = flatten(chosen)
    return settings | {key: _file_name(settings[key]) for key in PATHS}


def main_params(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (key, text) of the settings that a reader looks for first."""
    return [(key, show_value(settings[key])) for key in MAIN]


def _file_name(path: str | None) -> str | None:
    return path and Path(path).name
