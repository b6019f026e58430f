"""Search spaces: what a recipe's `tune` says, checked before anything runs.

tune:
  trials: 20                                        # in all, however often the command is run
  space:
    head.dim: [64, 128, 256]                        # one of these
    optimizer.adamw.lr: {low: 0.0001, high: 0.01, log: true}
    batches.pk.classes: {low: 4, high: 16, step: 4} # whole numbers, since both ends are
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ruamel.yaml import YAML

from app.recipes import TUNE, Recipe, apply
from pipeline.errors import UserError

# Validation would be of other pictures, by another figure or by luck; or would stay as it is.
FIXED = {
    *("seed", "launch", "data", "download", "split", "train.monitor"),
    *("embed", "index.factory", "evaluate", "plot", "track", "train.workers"),
}
SHAPES = (
    "a list of values; {low, high}, with log: true if you like, low above 0 then; or, of whole "
    "numbers, {low, high, step}, step a part of what lies between"
)


@dataclass(frozen=True)
class Space:
    """trials: how many in all. dimensions: dotted key -> what its values are drawn from."""

    trials: int
    dimensions: Mapping[str, BaseDistribution]


def read_space(recipe: Recipe, params: str) -> Space:
    """Return what the recipe's `tune` says, checked upon `params`, a params.yaml.

    Each value of a list and each end of a range must be allowed beside the recipe's other values.
    Whether values that are drawn together go together is seen at each trial.

    Raises:
        UserError: there is no such section, or it does not read as one; a key of it is unknown,
            or of those that would change what is validated or nothing; a value is not allowed.
    """
    where = f"{recipe.path}: {TUNE}"
    match recipe.tune:
        case {"trials": trials, "space": {**space}, **others} if (
            _are(int, trials) and trials > 0 and space
        ):
            if others:
                raise UserError(f"{where}: found '{next(iter(others))}'; allowed: trials, space")
        case found:
            raise UserError(
                f"{where}: found {found or 'none'}; allowed: trials, a whole number from 1, and "
                f"space, dotted keys, each with {SHAPES}"
            )
    dimensions: dict[str, BaseDistribution] = {}
    for key, drawn in space.items():
        _check_key(str(key), where=f"{where}.space")
        dimensions[str(key)] = _read_dimension(drawn, where=f"{where}.space: {key}")
    for key, dimension in dimensions.items():
        for value in _ends(dimension):
            apply(params, dict(recipe.settings) | {key: value}, where=f"{where}.space")
    _check_effect(dimensions, recipe, params, where=f"{where}.space")
    return Space(trials, dimensions)


def _check_key(key: str, *, where: str) -> None:
    if key in FIXED or key.partition(".")[0] in FIXED:
        raise UserError(
            f"{where}: {key}: cannot be searched, since validation would be another one or stay "
            f"the same; fixed are {', '.join(sorted(FIXED))}; set it beside `{TUNE}` instead"
        )


def _read_dimension(drawn: Any, *, where: str) -> BaseDistribution:
    try:
        if isinstance(drawn, dict):
            return _read_range(**drawn)
        if isinstance(drawn, list) and not any(isinstance(each, list | dict) for each in drawn):
            return CategoricalDistribution(drawn)
    except (TypeError, ValueError, ZeroDivisionError):  # optuna's, and Python's for other keys
        pass
    raise UserError(f"{where}: found {drawn!r}; allowed: {SHAPES}")


def _read_range(
    low: Any, high: Any, *, step: int | None = None, log: bool = False
) -> BaseDistribution:
    if _are(int, low, high) and (step is None or (high - low) % step == 0):
        return IntDistribution(low, high, step=1 if step is None else step, log=log)
    if _are((int, float), low, high) and step is None:
        return FloatDistribution(low, high, log=log)
    raise ValueError


def _are(kinds: type | tuple[type, ...], *values: Any) -> bool:
    # In Python True is a whole number.
    return all(isinstance(each, kinds) and not isinstance(each, bool) for each in values)


def _ends(dimension: BaseDistribution) -> list[Any]:
    if isinstance(dimension, CategoricalDistribution):
        return list(dimension.choices)
    assert isinstance(dimension, IntDistribution | FloatDistribution)
    return [dimension.low, dimension.high]


def _check_effect(
    dimensions: Mapping[str, BaseDistribution], recipe: Recipe, params: str, *, where: str
) -> None:
    """Refuse options of a block that is never chosen."""
    applied = YAML(typ="safe").load(apply(params, recipe.settings, where=where))
    for key in dimensions:
        section, _, rest = key.partition(".")
        block, _, option = rest.partition(".")
        name = f"{section}.name"
        if not option or "name" not in applied[section]:
            continue
        chosen = _ends(dimensions[name]) if name in dimensions else [applied[section]["name"]]
        if block not in chosen:
            raise UserError(
                f"{where}: {key}: would change nothing, since {name} is {', '.join(chosen)}; "
                f"set {name} beside `{TUNE}`, or search it too"
            )
