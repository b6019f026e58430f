"""The recipe that a command was called with: the user's values in it, and warnings about them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from app.experiments import git, recipes
from pipeline.config.load import read_params

PARAMS = Path("params.yaml")
RECIPES = Path("recipes")

logger = logging.getLogger(__name__)


def read_chosen_recipe(name: str, overrides: Sequence[str]) -> tuple[recipes.Recipe, str]:
    """Return the recipe `name` with the user's values, and the text of params.yaml.

    overrides: the user's values, each "dotted.key=value".

    Raises:
        UserError: there is no such recipe, or a value is not allowed, also one of params.yaml.
    """
    recipe = recipes.read_recipe(RECIPES, name)
    read_params(PARAMS)  # first: else a mistake in it would be reported as the recipe's
    if git.has_changes(PARAMS):
        logger.warning(
            "%s has changes that are not in git; values that the recipe does not set keep them, "
            "and are not part of the published experiment",
            PARAMS,
        )
    params = PARAMS.read_text(encoding="utf-8")
    return recipes.override(recipe, overrides, params), params


def warn_of_unused(
    recipe: recipes.Recipe, points: Sequence[Mapping[str, Any]], params: str
) -> None:
    """Warn of each value of the user's that changes nothing at any of `points`.

    points: dotted key -> value of each. params: the text of params.yaml.
    """
    values = YAML(typ="safe").load(params)
    for key in recipe.overridden:
        if reason := recipes.find_unused(key, points, values):
            logger.warning("-S %s: changes nothing, since %s", key, reason)
