"""Search spaces: what a recipe's `tune` says, checked before anything runs.

tune:
  trials: 20                                        # in all, however often the command is run
  space:
    head.dim: [64, 128, 256]                        # one of these
    optimizer.adamw.lr: {low: 0.0001, high: 0.01, log: true}
    batches.pk.classes: {low: 4, high: 16, step: 4} # whole numbers, since both ends are
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

from app.experiments.recipes import TUNE, Recipe, applied, find_unused
from pipeline.errors import UserError

# Validation would be of other images, by another figure or by luck; or would stay as it is.
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

    @property
    def size(self) -> float:
        """How many points there are, at most; inf for a range of real numbers."""
        return math.prod(map(_count, self.dimensions.values()))


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
    points = list_ends(recipe, dimensions)
    for point in points:
        applied(params, point, where=f"{where}.space")
    values = YAML(typ="safe").load(params)
    for key, dimension in dimensions.items():
        _check_whole(key, dimension, space[key], recipe, params, where=f"{where}.space")
        if why := find_unused(key, points, values):
            name, _, _ = why.partition(" ")
            raise UserError(
                f"{where}.space: {key}: would change nothing, since {why}; set {name} beside "
                f"`{TUNE}`, or search it too"
            )
    return Space(trials, dimensions)


def list_ends(recipe: Recipe, dimensions: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Return the recipe's settings with each value of a list and each end of a range, one a time.

    So a choice that is searched is there in all its values.
    """
    return [
        dict(recipe.settings) | {key: value}
        for key, dimension in dimensions.items()
        for value in _ends(dimension)
    ]


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


def _count(dimension: BaseDistribution) -> float:
    if isinstance(dimension, CategoricalDistribution):
        return len(set(dimension.choices))  # a value may be listed twice
    if isinstance(dimension, IntDistribution):
        return (dimension.high - dimension.low) // dimension.step + 1
    return 1 if dimension.single() else math.inf


def _check_whole(
    key: str, dimension: BaseDistribution, drawn: Any, recipe: Recipe, params: str, *, where: str
) -> None:
    """Refuse whole ends of a real number: 0 and 1 alone would be drawn. A step says it is meant."""
    if not isinstance(dimension, IntDistribution) or "step" in drawn:
        return
    low, high = dimension.low, dimension.high
    try:
        applied(params, dict(recipe.settings) | {key: low + 0.5}, where=where)
    except UserError:
        return
    raise UserError(
        f"{where}: {key}: found {drawn!r}, of which only whole numbers would be drawn; write "
        f"{low:.1f} and {high:.1f}; or, if that is meant, give a step"
    )
