"""The `lookalike` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands import recipe
from pipeline.errors import UserError
from pipeline.logs import set_up_logging

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What a person does beside dvc and make.",
)
app.add_typer(recipe.recipe_app, name="recipe")
app.command()(recipe.sweep)
app.command()(recipe.tune)


@app.callback()
def set_up(context: typer.Context) -> None:
    """Log in the name of the command that is called."""
    set_up_logging(context.invoked_subcommand or "lookalike")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a model, experiment, revision or REVISION:MODEL")],
    b: Annotated[str, typer.Argument(help="the same; several trainings of one setting: B1,B2")],
    out: Annotated[Path, typer.Option(help="folder of the figures and sheets")] = Path(
        "comparison"
    ),
) -> None:
    """Tell by how much B's retrieval is better than A's, and whether that is more than luck."""
    from app.commands import compare as comparing  # pandas and the drawing take a second

    comparing.run(a, b, out=out)


@app.command()
def query(
    photos: Annotated[list[Path], typer.Argument(help="images, or folders of them")],
    model: Annotated[str, typer.Option(help="whose index is asked")] = "finetuned",
    k: Annotated[int, typer.Option("-k", min=1, help="answers to each photo")] = 10,
    crop: Annotated[
        str, typer.Option(help="center: the middle square; none: all of it")
    ] = "center",
    out: Annotated[Path, typer.Option(help="folder of the sheet and table to write")] = Path(
        "queries"
    ),
) -> None:
    """Ask the index with photos of your own: prints what they look like, and draws a sheet."""
    # torch takes seconds, which no other command needs
    from app.commands.query import query_photos

    if not query_photos(Path(), photos, model=model, k=k, crop=crop, out=out):
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="0.0.0.0: for other machines too")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    models: Annotated[str, typer.Option(help="side by side, in this order")] = "baseline,finetuned",
    open_page: Annotated[
        bool | None, typer.Option("--open/--no-open", help="in your browser; else where it can")
    ] = None,
) -> None:
    """Open the search page: drop a photo, see what each model finds."""
    from app.commands.serve import serve_search_page

    serve_search_page(Path(), host=host, port=port, models=models, open_page=open_page)


def main() -> None:
    """Run the command line; a UserError becomes one line on stderr and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"lookalike: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
