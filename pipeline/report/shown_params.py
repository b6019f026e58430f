"""The params of a run that its report shows: of each choice, only the chosen block."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.dotted_keys import flatten, keep_chosen, show_value
from pipeline.config.schema import Params
from pipeline.options import Section

# `launch`, `cluster` and `track` change how a run is started, who computes it and where it is
# recorded, `added` what is searched, `models` and `variants` what is beside the two models that are
# shown: none of them their results.
HIDDEN = ("launch", "cluster", "track", "added", "models", "variants")
# The params that a reader looks for first.
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
# With these values, another processor gives other bits.
UNREPEATABLE = {"bits": "fast", "train.precision": "auto", "embed.precision": "auto"}
# Without a head, what a head would be is no part of the model.
OF_NO_HEAD = ("head.dim", "head.hidden", "head.init")
# A path on one machine, and in how many files the images are kept.
NOT_SHOWN = ("data.source", "data.buckets")
# Shown as a file name: the folders belong to one machine.
PATHS = ("backbone.weights",)


def shown_params(params: Params) -> dict[str, Any]:
    """Return dotted key -> value; of each choice, its name and the chosen block."""
    shown = [name for name in type(params).model_fields if name not in HIDDEN]
    sections = {name: getattr(params, name) for name in shown}
    values = flatten(keep_chosen({name: _dump(each) for name, each in sections.items()}))
    values = {key: value for key, value in values.items() if key not in NOT_SHOWN}
    if params.head.name == "none":
        values = {key: value for key, value in values.items() if key not in OF_NO_HEAD}
    return values | {key: _file_name(values[key]) for key in PATHS}


def with_chosen(values: Mapping[str, Any], auto: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with what was chosen for each `auto`.

    >>> with_chosen({"split.val_fraction": "auto", "seed": 7}, {"split.val_fraction": 0.1})
    {'split.val_fraction': 'auto: 0.1', 'seed': 7}
    """
    return {
        key: f"auto: {auto[key]}" if value == "auto" and key in auto else value
        for key, value in values.items()
    }


def main_params(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, text) of the params that a reader looks for first, from `shown_params`."""
    return [(key, show_value(values[key])) for key in MAIN if key in values]


def unrepeatable_params(values: Mapping[str, Any]) -> list[str]:
    """Return the chosen values that let results differ from one processor to another.

    >>> unrepeatable_params({"bits": "fast", "train.precision": "fp32", "embed.precision": "auto"})
    ['bits: fast', 'embed.precision: auto']
    """
    return [f"{key}: {value}" for key, value in UNREPEATABLE.items() if values[key] == value]


def _dump(section: Any) -> Any:
    return section.model_dump() if isinstance(section, Section) else section


def _file_name(path: str | None) -> str | None:
    return path and Path(path).name
