"""Search spaces: a recipe's `tune`, checked before anything runs.

tune:
  trials: 20                                        # total, over all runs of the command
  space:
    head.dim: [64, 128, 256]                        # one of these
    optimizer.adamw.lr: {low: 0.0001, high: 0.01, log: true}
    batches.pk.classes: {low: 4, high: 16, step: 4} # whole numbers, as both ends are
"""

import math
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

from app.experiments.recipes import TUNE, Recipe, check_settings, find_unused
from pipeline.errors import UserError

# These change the images or the metric of validation, or make it depend on a seed; or change
# nothing of it.
FIXED = {
    *("seed", "launch", "cluster", "data", "added", "download", "split", "train.monitor"),
    *("embed", "index.factory", "index.recall", "evaluate", "plot", "track", "train.workers"),
}
FORMS = (
    "a list of values; {low, high}, optionally with log: true if low is above 0; or, for whole "
    "numbers, {low, high, step}, where step divides high - low"
)


@dataclass(frozen=True)
class Space:
    """trials: their total number. dimensions: dotted key -> the distribution of its values."""

    trials: int
    dimensions: Mapping[str, BaseDistribution]

    @property
    def size(self) -> float:
        """The number of points, at most; inf if a dimension is a range of real numbers."""
        return math.prod(map(_count_values, self.dimensions.values()))


def read_space(recipe: Recipe, params: str) -> Space:
    """Return the recipe's `tune`, checked with `params`, the text of params.yaml.

    Each value of a list and each end of a range must be allowed beside the recipe's other values.
    Whether sampled values are allowed together is checked at each trial.

    Raises:
        UserError: there is no `tune`, or its form is wrong; a key is unknown, changes nothing, or
            changes what validation measures; a value is not allowed.
    """
    where = f"{recipe.where}: {TUNE}"
    match recipe.tune:
        case {"trials": trials, "space": {**space}, **others} if (
            _are(int, trials) and trials > 0 and space
        ):
            if others:
                raise UserError(f"{where}: found '{next(iter(others))}'; allowed: trials, space")
        case found:
            raise UserError(
                f"{where}: found {found or 'none'}; allowed: trials, a whole number from 1, and "
                f"space, dotted keys, each with {FORMS}"
            )
    dimensions: dict[str, BaseDistribution] = {}
    for key, values in space.items():
        _check_key(str(key), where=f"{where}.space")
        dimensions[str(key)] = _read_dimension(values, where=f"{where}.space: {key}")
    points = list_ends(recipe, dimensions)
    for point in points:
        check_settings(params, point, where=f"{where}.space")
    plain = YAML(typ="safe").load(params)
    for key, dimension in dimensions.items():
        _check_whole(key, dimension, space[key], recipe, params, where=f"{where}.space")
        if reason := find_unused(key, points, plain):
            name, _, _ = reason.partition(" ")
            raise UserError(
                f"{where}.space: {key}: would change nothing, since {reason}; set {name} beside "
                f"`{TUNE}`, or search it too"
            )
    return Space(trials, dimensions)


def list_ends(recipe: Recipe, dimensions: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Return the recipe's settings with each value of a list and each end of a range, one a time.

    So each value of a searched choice is in one of them.
    """
    return [
        dict(recipe.settings) | {key: value}
        for key, dimension in dimensions.items()
        for value in _list_dimension_ends(dimension)
    ]


def _check_key(key: str, *, where: str) -> None:
    if key in FIXED or key.partition(".")[0] in FIXED:
        raise UserError(
            f"{where}: {key}: cannot be searched, since it changes what validation measures, or "
            f"nothing of it; fixed are {', '.join(sorted(FIXED))}; set it beside `{TUNE}` instead"
        )


def _read_dimension(values: Any, *, where: str) -> BaseDistribution:
    try:
        if isinstance(values, dict):
            return _read_range(**values)
        if isinstance(values, list) and not any(isinstance(each, list | dict) for each in values):
            return CategoricalDistribution(values)
    except (TypeError, ValueError, ZeroDivisionError):  # optuna's, and Python's for other keys
        pass
    raise UserError(f"{where}: found {values!r}; allowed: {FORMS}")


def _read_range(
    low: Any, high: Any, *, step: int | None = None, log: bool = False
) -> BaseDistribution:
    if _are(int, low, high) and (step is None or (high - low) % step == 0):
        return IntDistribution(low, high, step=1 if step is None else step, log=log)
    if _are((int, float), low, high) and step is None:
        return FloatDistribution(low, high, log=log)
    raise ValueError


def _are(kinds: type | tuple[type, ...], *values: Any) -> bool:
    # In Python True is an int.
    return all(isinstance(each, kinds) and not isinstance(each, bool) for each in values)


def _list_dimension_ends(dimension: BaseDistribution) -> list[Any]:
    if isinstance(dimension, CategoricalDistribution):
        return list(dimension.choices)
    if isinstance(dimension, IntDistribution | FloatDistribution):
        return [dimension.low, dimension.high]
    raise TypeError(dimension)


def _count_values(dimension: BaseDistribution) -> float:
    if isinstance(dimension, CategoricalDistribution):
        return len(set(dimension.choices))  # a value may be repeated
    if isinstance(dimension, IntDistribution):
        return (dimension.high - dimension.low) // dimension.step + 1
    return 1 if dimension.single() else math.inf


def _check_whole(
    key: str, dimension: BaseDistribution, values: Any, recipe: Recipe, params: str, *, where: str
) -> None:
    """Refuse a range of a real number with whole ends and no step: of 0 to 1, only 0 and 1."""
    if not isinstance(dimension, IntDistribution) or "step" in values:
        return
    low, high = dimension.low, dimension.high
    try:
        check_settings(params, dict(recipe.settings) | {key: low + 0.5}, where=where)
    except UserError:
        return
    raise UserError(
        f"{where}: {key}: found {values!r}, of which only whole numbers would be sampled; write "
        f"{low:.1f} and {high:.1f}; or, if only whole numbers are wanted, add a step"
    )
