"""Variants: models that are trained beside the fine-tuned one, each with some other choices."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pipeline.config.schema import CHOICES, Params
from pipeline.errors import name_choices

# What training alone depends on; all before it is the same for all models.
VARIED = ("head", "loss", "miner", "batches", "optimizer", "scheduler", "train")
# Models that are there without variants, and folders beside those of models.
MODELS = ("baseline", "finetuned")
TAKEN = (*MODELS, "added", "download", "train", "best", "workspace")
OF_TRAINING = "train-"  # before the name of a variant, in those of metrics
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


def apply_variant(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values of params.yaml with what a variant changes of them."""
    changed = deepcopy(dict(values))
    _overlay(changed, values["variants"][name])
    return changed


def find_wrong_variants(params: Params) -> list[str]:
    """Return what is wrong with the names of models and variants, and with what variants change,
    one line each; not of the values that they give."""
    values = params.model_dump()
    return [
        *_wrong_names(params),
        *(
            problem
            for name, changes in params.variants.items()
            for problem in _wrong_changes(values, changes, f"variants.{name}")
        ),
    ]


def _wrong_names(params: Params) -> Iterator[str]:
    for name in params.variants:
        if name in TAKEN or name.startswith(OF_TRAINING) or not NAME.fullmatch(name):
            yield (
                f"variants: found '{name}'; allowed: names of small letters, digits, - and _, but "
                f"not {', '.join(TAKEN)} or {OF_TRAINING}…"
            )
    names = [*MODELS, *params.variants]
    if sorted(params.models) != sorted(names):
        yield (
            f"models: found {params.models}; allowed: baseline, finetuned and the variants, once "
            f"each: [{', '.join(names)}]"
        )


def _wrong_changes(
    values: Mapping[str, Any], changes: Mapping[str, Any], where: str
) -> Iterator[str]:
    for section, changed in changes.items():
        if section not in VARIED:
            yield f"{where}.{section}: unknown key; {name_choices(section, VARIED)}"
        elif not isinstance(changed, Mapping):
            yield f"{where}.{section}: found {changed!r}; allowed: a mapping of keys"
        elif section in CHOICES:
            # So that it depends on no block that params.yaml does not choose.
            name = str(changed.get("name", values[section]["name"]))
            for key in changed.keys() - {"name", name}:
                yield f"{where}.{section}.{key}: not the chosen one; allowed: {name}"
            block, given = values[section].get(name) or {}, changed.get(name) or {}
            missing = [key for key in block if not isinstance(given, Mapping) or key not in given]
            if name != values[section]["name"] and missing:
                yield (
                    f"{where}.{section}.{name}: without {', '.join(missing)}; allowed: all values "
                    "of a block that params.yaml does not choose"
                )


def _overlay(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, change in changes.items():
        if isinstance(change, Mapping) and isinstance(values.get(key), dict):
            _overlay(values[key], change)
        else:
            values[key] = change
