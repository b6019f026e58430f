"""`lookalike recipe`: list the recipes, show one, and write one into params.yaml."""

import shutil
from collections.abc import Sequence

from app.experiments import recipes
from app.experiments.chosen_recipe import PARAMS, RECIPES, read_chosen_recipe, warn_of_unused
from pipeline.data.files import written_whole
from pipeline.errors import UserError


def list_recipes() -> None:
    """Print the name and title of each recipe; the error in place of the title of a broken one."""
    names = recipes.list_names(RECIPES)
    width = max(map(len, names))
    for name in names:
        try:
            title = recipes.read_recipe(RECIPES, name).title
        except UserError as error:
            title = str(error)
        print(f"{name:{width}}  {title}")


def show_recipe(name: str, overrides: Sequence[str]) -> None:
    """Print a recipe's file, and what it would change in params.yaml.

    overrides: the user's values, each "dotted.key=value".
    """
    recipe, before = read_chosen_recipe(name, overrides)
    warn_of_unused(recipe, [recipe.settings], before)
    after = _apply(recipe, before)
    print(recipe.path.read_text(encoding="utf-8"))
    _print_changes(recipes.list_changes(before, after), verb="would change")


def apply_recipe(name: str, overrides: Sequence[str]) -> None:
    """Write a recipe's values into params.yaml, and print what changed.

    overrides: the user's values, each "dotted.key=value".
    """
    recipe, before = read_chosen_recipe(name, overrides)
    warn_of_unused(recipe, [recipe.settings], before)
    after = _apply(recipe, before)
    path = PARAMS.resolve()  # the target of a link, which stays a link
    with written_whole(path) as (unfinished,):
        unfinished.write_text(after, encoding="utf-8")
        shutil.copymode(path, unfinished)
    _print_changes(recipes.list_changes(before, after), verb="changed")


def _apply(recipe: recipes.Recipe, params: str) -> str:
    """Return `params` with the recipe's values, after a check of all of its `sweep` and `tune`."""
    if recipe.tune is not None:
        from app.experiments import search_spaces  # optuna takes half a second

        search_spaces.read_space(recipe, params)
    for settings in recipe.combinations():
        recipes.check_settings(params, recipe.settings | settings, where=recipe.where)
    return recipes.apply_settings(params, recipe.settings, where=recipe.where)


def _print_changes(changes: list[str], *, verb: str) -> None:
    values = "value" if len(changes) == 1 else "values"
    print(f"{PARAMS}: {len(changes)} {values} {verb}")
    for change in changes:
        print(f"  {change}")
