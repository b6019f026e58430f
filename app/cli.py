"""The `lookalike` command line: the options of each command, which is one file of app/commands.

Each command imports its file only when it is called: torch, pandas and optuna take seconds, which
`lookalike --help` and the other commands do not need.
"""

import logging
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from pipeline.entry import run_entry
from pipeline.logs import set_up_logging

logger = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
recipe_app = typer.Typer(
    no_args_is_help=True, help="Published experiments, each an overlay of params.yaml."
)
app.add_typer(recipe_app, name="recipe")

Name = Annotated[str, typer.Argument(help="a file of recipes/, without .yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set-param", "-S", metavar="KEY=VALUE", help="replaces a value, as in dvc"),
]
OneModel = Annotated[
    str, typer.Option(help="baseline, finetuned, a variant, or best: the best one on validation")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="experiments at a time")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lookalike {version('lookalike')}")
        raise typer.Exit


@app.callback()
def set_up(
    context: typer.Context,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="log details too, such as the index that query and serve load"
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="log warnings and errors only")] = (
        False
    ),
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="print the version and exit"
        ),
    ] = False,
) -> None:
    """Compare, search and serve models, and run published experiments."""
    set_up_logging(context.invoked_subcommand or "lookalike", verbose=verbose, quiet=quiet)


@recipe_app.command("list")
def list_recipes() -> None:
    """List the recipes."""
    from app.commands import recipe

    recipe.list_recipes()


@recipe_app.command("show")
def show_recipe(name: Name, overrides: Overrides = None) -> None:
    """Show a recipe: its source, its values, and how they differ from params.yaml."""
    from app.commands import recipe

    recipe.show_recipe(name, overrides or [])


@recipe_app.command("apply")
def apply_recipe(name: Name, overrides: Overrides = None) -> None:
    """Write a recipe's values into params.yaml; its other values and its comments stay."""
    from app.commands import recipe

    recipe.apply_recipe(name, overrides or [])


@app.command()
def sweep(
    name: Name,
    overrides: Overrides = None,
    jobs: Jobs = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list the experiments")] = False,
) -> None:
    """Run each combination of a recipe's `sweep` as an experiment in DVC's queue.

    params.yaml does not change. An interrupted sweep continues when the command is run again.
    """
    from app.commands.sweep import run_sweep

    run_sweep(name, overrides or [], jobs=jobs, dry_run=dry_run)


@app.command()
def tune(
    name: Name,
    overrides: Overrides = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="total, earlier runs included; default: as in the recipe"),
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Search a recipe's `tune` space for the best validation, by experiments in DVC's queue.

    params.yaml does not change. An interrupted search continues when the command is run again.
    """
    from app.commands.tune import run_tuning

    run_tuning(name, overrides or [], trials=trials, jobs=jobs)


@app.command()
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B…",
            help="models, experiments, revisions or REVISION:MODEL; several trainings of one "
            "setting, separated by commas, are one side: B1,B2",
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the table and sheets to write")] = Path(
        "comparison"
    ),
) -> None:
    """Measure how much better B retrieves than A, and whether that is more than chance.

    Of three sides or more: a table of all, and the verdict on each pair.
    """
    from app.commands.compare import compare_models

    compare_models(sides, out=out)


@app.command()
def verify(
    record: Annotated[
        bool, typer.Option("--record", help="only note this machine as the one of dvc.lock")
    ] = False,
) -> None:
    """Run the last commit in a temporary clone: does this machine give the bits of dvc.lock?"""
    from app.commands import verify as command

    if record:
        command.record()
    elif not command.verify():
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Say what this machine and project have, what to mend, and how long a run takes here."""
    from app.commands.doctor import examine

    if not examine(Path()):
        raise typer.Exit(1)


@app.command()
def query(
    photos: Annotated[list[Path] | None, typer.Argument(help="images, or folders of them")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="words for what is looked for; may be given repeatedly"),
    ] = None,
    without: Annotated[
        list[Path] | None, typer.Option(help="an image that results are not to be like")
    ] = None,
    without_text: Annotated[
        list[str] | None, typer.Option(help="words for what results are not to be like")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="all photos are one query, as with the three above")
    ] = False,
    model: OneModel = "best",
    only: Annotated[
        list[str] | None,
        typer.Option(help="search only gallery, class=NAME or group=NAME; may be given repeatedly"),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="neighbors of each photo")] = 10,
    crop: Annotated[
        str, typer.Option(help="center: the square in the middle; none: the whole photo")
    ] = "center",
    out: Annotated[Path, typer.Option(help="folder of the table and sheets to write")] = Path(
        "queries"
    ),
) -> None:
    """Search all images with your own photos: print their neighbors and draw sheets of them."""
    from app.commands.query import QueryOptions, query_photos

    options = QueryOptions(
        model=model,
        only=tuple(only or ()),
        k=k,
        crop=crop,
        texts=tuple(text or ()),
        other_photos=tuple(without or ()),
        other_texts=tuple(without_text or ()),
        together=together,
    )
    if not query_photos(Path(), photos or [], options, out=out):
        raise typer.Exit(1)


@app.command()
def add(images: Annotated[list[Path], typer.Argument(help="images, or folders of them")]) -> None:
    """Copy images without labels to the added ones, and run dvc repro index, which finds them."""
    from app.commands.added import add_images

    add_images(Path(), images)


@app.command()
def remove(
    image_ids: Annotated[
        list[str],
        typer.Argument(help="of added images, as query prints them, or of folders of them"),
    ],
) -> None:
    """Delete added images, and index the others."""
    from app.commands.added import remove_images

    remove_images(Path(), image_ids)


@app.command()
def duplicates(
    out: Annotated[Path, typer.Option(help="folder of the table and sheets to write")] = Path(
        "duplicates"
    ),
    overrides: Annotated[
        bool,
        typer.Option(
            "--overrides", help="add to overrides.csv a drop of each exact duplicate across classes"
        ),
    ] = False,
) -> None:
    """List images that are the same, or nearly: across classes and splits first."""
    from app.commands import duplicates as command

    groups = command.list_duplicates(Path(), out=out)
    if overrides:
        count = command.propose_drops(groups, Path("overrides.csv"))
        print(
            f"added {count} to overrides.csv, all images of such groups; delete the line of each "
            "that is in the right class, and run: dvc repro"
        )


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="folder to write, which is new")],
    model: OneModel = "best",
    kind: Annotated[
        str, typer.Option("--format", help="parquet, or lance; the model itself: onnx, or hub")
    ] = "parquet",
    thumbnails: Annotated[
        int, typer.Option(min=0, max=1024, help="pixels of their longer side; 0: none")
    ] = 128,
) -> None:
    """Write all images' vectors, classes and thumbnails as other search engines read them, or the
    model as ONNX or as a repository of the Hugging Face Hub."""
    from app.commands.export import export_images

    export_images(Path(), out, model=model, kind=kind, side=thumbnails)


@app.command("push-to-hub")
def push_to_hub(
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="on the Hub, new or there already")
    ],
    model: OneModel = "best",
    private: Annotated[bool, typer.Option("--private", help="for its owner alone")] = False,
) -> None:
    """Upload a model with its card to the Hugging Face Hub, and print its address."""
    from app.commands.push_to_hub import push_to_hub as push

    push(Path(), repository, model=model, private=private)


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="of the model in the registry, such as products")],
    model: OneModel = "best",
) -> None:
    """Log a model with its index to MLflow and register it; it becomes the champion if it is
    better than the one that is."""
    from app.commands.register import register as register_model

    register_model(Path(), name, model=model)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="0.0.0.0: for other machines too")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port")] = 8000,
    models: Annotated[
        str,
        typer.Option(
            help="models to compare, in this order, separated by commas; best: all, the best one "
            "on validation first"
        ),
    ] = "best",
    open_page: Annotated[
        bool | None, typer.Option("--open/--no-open", help="in your browser; default: if possible")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LOOKALIKE_TOKEN",
            help="that requests need; default: one is made where --host is not this machine alone",
        ),
    ] = None,
) -> None:
    """Open the search page: drop a photo, see what each model finds."""
    from app.commands.serve import serve_search_page

    serve_search_page(Path(), host=host, port=port, models=models, open_page=open_page, token=token)


def main() -> None:
    """Run the command line, as `pipeline.entry.run_entry` does."""
    set_up_logging("lookalike")
    # A line does not begin with the command's name, which the messages have where it helps.
    run_entry(app, before_error=partial(set_up_logging, "lookalike"))


if __name__ == "__main__":
    main()
