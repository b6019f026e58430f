"""The `lookalike` command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from app import experiments, recipes, sweeps
from pipeline.errors import UserError
from pipeline.params import read_params

PARAMS = Path("params.yaml")
RECIPES = Path("recipes")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What a person does beside dvc and make.",
)
recipe_app = typer.Typer(
    no_args_is_help=True, help="Published experiments, as overlays of params.yaml."
)
app.add_typer(recipe_app, name="recipe")

Name = Annotated[str, typer.Argument(help="a file of recipes/, without .yaml")]


@recipe_app.command("list")
def list_recipes() -> None:
    """List the recipes."""
    names = recipes.names(RECIPES)
    width = max(map(len, names))
    for name in names:
        try:
            title = recipes.read_recipe(RECIPES, name).title
        except UserError as error:
            title = str(error)
        print(f"{name:{width}}  {title}")


@recipe_app.command()
def show(name: Name) -> None:
    """Show where a recipe comes from, what it sets, and how that differs from params.yaml."""
    recipe = recipes.read_recipe(RECIPES, name)
    print(recipe.path.read_text(encoding="utf-8"))
    before = _read_params()
    _tell(recipes.changes(before, _applied(recipe, before)), verb="would change")


@recipe_app.command()
def apply(name: Name) -> None:
    """Write a recipe's values into params.yaml, whose other values and comments stay."""
    recipe = recipes.read_recipe(RECIPES, name)
    before = _read_params()
    after = _applied(recipe, before)
    place = PARAMS.resolve()  # a link stays one
    unfinished = place.with_name(place.name + ".part")
    unfinished.write_text(after, encoding="utf-8")
    shutil.copymode(place, unfinished)
    os.replace(unfinished, place)
    _tell(recipes.changes(before, after), verb="changed")


@app.command()
def sweep(
    name: Name,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="experiments at a time")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list the experiments")] = False,
) -> None:
    """Run a recipe in each combination of its `sweep`, as experiments in DVC's queue.

    params.yaml stays as it is. A sweep that was interrupted goes on when it is run again.
    """
    recipe = recipes.read_recipe(RECIPES, name)
    baseline = experiments.baseline()
    code = experiments.changed_code(*sweeps.CODE)
    runs = sweeps.plan(recipe, _read_params(), baseline=baseline, code=code)
    if dry_run:
        print("\n".join(run.name for run in runs))
        return
    try:
        sweeps.enqueue(runs, baseline=baseline, tell=_tell_progress)
        sweeps.follow(runs, jobs=jobs, tell=_tell_progress)
    except KeyboardInterrupt:
        _tell_progress(
            "interrupted; what began goes on without this command, which can be run again; "
            "dvc queue stop --kill ends it"
        )
        raise typer.Exit(130) from None
    _tell_results(runs, experiments.results(baseline))


def _tell_results(runs: list[sweeps.Run], results: dict[str, experiments.Result]) -> None:
    print(sweeps.tabulate(runs, results))
    failed = [run for run in runs if run.name not in results]
    if len(failed) < len(runs):
        print("take one over: dvc exp apply EXPERIMENT; choose by val_: the others are of test")
    for run in failed:
        reason = sweeps.find_reason(experiments.log(run.name))
        print(f"lookalike: {run.label}: {reason} (dvc queue logs {run.name})", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _tell_progress(line: str) -> None:
    print(f"sweep: {line}", file=sys.stderr, flush=True)


def _read_params() -> str:
    read_params(PARAMS)  # so that a mistake that was there before is not taken for the recipe's
    if _differs_from_git():
        print(
            "params.yaml has changes that are not in git; what the recipe does not set stays so, "
            "and is not part of the published experiment",
            file=sys.stderr,
        )
    return PARAMS.read_text(encoding="utf-8")


def _differs_from_git() -> bool:
    command = ["git", "status", "--porcelain", "--", str(PARAMS)]
    return bool(subprocess.run(command, capture_output=True, check=False).stdout)


def _applied(recipe: recipes.Recipe, before: str) -> str:
    for settings in recipe.combinations():
        recipes.apply(before, recipe.settings | settings, where=str(recipe.path))
    return recipes.apply(before, recipe.settings, where=str(recipe.path))


def _tell(changes: list[str], *, verb: str) -> None:
    values = "value" if len(changes) == 1 else "values"
    print(f"params.yaml: {len(changes)} {values} {verb}")
    for change in changes:
        print(f"  {change}")


def main() -> None:
    """Run the command line; a UserError becomes one line on stderr and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"lookalike: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
