"""Commands on recipes: list, show, apply, and to run them in many points."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from app.experiments import dvc_adapter, queued_runs, recipes, sweeps
from pipeline.config.load import read_params
from pipeline.data.files import written_whole
from pipeline.errors import UserError

PARAMS = Path("params.yaml")
RECIPES = Path("recipes")

recipe_app = typer.Typer(
    no_args_is_help=True, help="Published experiments, as overlays of params.yaml."
)

Name = Annotated[str, typer.Argument(help="a file of recipes/, without .yaml")]
Own = Annotated[
    list[str] | None,
    typer.Option("--set-param", "-S", metavar="KEY=VALUE", help="a value of your own, as for dvc"),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="experiments at a time")]


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
def show(name: Name, own: Own = None) -> None:
    """Show where a recipe comes from, what it sets, and how that differs from params.yaml."""
    recipe, before = _read(name, own)
    _warn_of_unused(recipe, [recipe.settings], before)
    print(recipe.path.read_text(encoding="utf-8"))
    _tell(recipes.changes(before, _applied(recipe, before)), verb="would change")


@recipe_app.command()
def apply(name: Name, own: Own = None) -> None:
    """Write a recipe's values into params.yaml, whose other values and comments stay."""
    recipe, before = _read(name, own)
    _warn_of_unused(recipe, [recipe.settings], before)
    after = _applied(recipe, before)
    place = PARAMS.resolve()  # a link stays one
    with written_whole(place) as (unfinished,):
        unfinished.write_text(after, encoding="utf-8")
        shutil.copymode(place, unfinished)
    _tell(recipes.changes(before, after), verb="changed")


def sweep(
    name: Name,
    own: Own = None,
    jobs: Jobs = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list the experiments")] = False,
) -> None:
    """Run a recipe in each combination of its `sweep`, as experiments in DVC's queue.

    params.yaml stays as it is. A sweep that was interrupted goes on when it is run again.
    """
    recipe, before = _read(name, own)
    origin = queued_runs.read_origin(PARAMS)
    planned = sweeps.plan(recipe, origin)
    _warn_of_unused(recipe, [run.settings for run in planned], before)
    if dry_run:
        print("\n".join(run.name for run in planned))
        return
    tell = partial(_tell_progress, "sweep")
    with _interruptible(tell):
        sweeps.work(planned, commit=origin.commit, jobs=jobs, tell=tell)
    _tell_results(planned, sweeps.read_results(planned, origin.commit))


def tune(
    name: Name,
    own: Own = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="in all, earlier runs included; else as in the recipe")
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Search a recipe's `tune` for the best validation, by experiments in DVC's queue.

    params.yaml stays as it is. A search that was interrupted goes on when it is run again.
    """
    # optuna takes half a second, which no other command needs
    from app.experiments import search_spaces, studies, tuner

    recipe, before = _read(name, own)
    tell = partial(_tell_progress, "tune")
    origin = queued_runs.read_origin(PARAMS)
    with tuner.open_tuning(recipe, origin, params=PARAMS, tell=tell) as tuning:
        _warn_of_unused(recipe, search_spaces.list_ends(recipe, tuning.space.dimensions), before)
        with _interruptible(tell):
            tuning.work(trials=trials, jobs=jobs)
        print(studies.tabulate(tuning.study, tuning.metric, tuning.short))
        for failure in studies.failures(tuning.study):
            print(f"lookalike: {failure}", file=sys.stderr)
        best = studies.describe_best(tuning.study, tuning.metric)
    if not best:
        raise typer.Exit(1)
    print(best)


@contextmanager
def _interruptible(tell: queued_runs.Tell) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        tell(
            "interrupted; what began goes on without this command, which can be run again; "
            "dvc queue stop --kill ends it"
        )
        raise typer.Exit(130) from None


def _tell_results(planned: list[queued_runs.Run], results: dict[str, sweeps.FinishedRun]) -> None:
    print(sweeps.tabulate(planned, results))
    failed = [run for run in planned if run.name not in results]
    if len(failed) < len(planned):
        print("take one over: dvc exp apply EXPERIMENT; choose by val_: the others are of test")
    for run in failed:
        reason = queued_runs.find_reason(dvc_adapter.log(run.name))
        print(f"lookalike: {run.label}: {reason} (dvc queue logs {run.name})", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _tell_progress(command: str, line: str) -> None:
    print(f"{command}: {line}", file=sys.stderr, flush=True)


def _read(name: str, own: list[str] | None) -> tuple[recipes.Recipe, str]:
    """Return a recipe with a person's own values, and params.yaml as it is."""
    recipe = recipes.read_recipe(RECIPES, name)
    before = _read_params()
    return recipes.override(recipe, own or [], before), before


def _warn_of_unused(
    recipe: recipes.Recipe, points: Sequence[Mapping[str, Any]], before: str
) -> None:
    params = YAML(typ="safe").load(before)
    for key in recipe.own:
        if why := recipes.find_unused(key, points, params):
            print(f"-S {key}: changes nothing, since {why}", file=sys.stderr)


def _read_params() -> str:
    read_params(PARAMS)  # so that a mistake that was there before is not taken for the recipe's
    if dvc_adapter.differs_from_git(PARAMS):
        print(
            "params.yaml has changes that are not in git; what the recipe does not set stays so, "
            "and is not part of the published experiment",
            file=sys.stderr,
        )
    return PARAMS.read_text(encoding="utf-8")


def _applied(recipe: recipes.Recipe, before: str) -> str:
    if recipe.tune is not None:
        from app.experiments import search_spaces  # as in `tune`

        search_spaces.read_space(recipe, before)
    for settings in recipe.combinations():
        recipes.applied(before, recipe.settings | settings, where=str(recipe.path))
    return recipes.apply(before, recipe.settings, where=str(recipe.path))


def _tell(changes: list[str], *, verb: str) -> None:
    values = "value" if len(changes) == 1 else "values"
    print(f"params.yaml: {len(changes)} {values} {verb}")
    for change in changes:
        print(f"  {change}")
