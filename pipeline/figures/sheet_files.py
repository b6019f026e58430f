"""The sheets of the trained model's single queries, and the bars of confused classes, as files."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.figures.confusion_bars import draw_confusions
from pipeline.figures.near_duplicate_sheets import (
    choose_near_duplicates,
    draw_near_duplicate_sheet,
)
from pipeline.figures.palette import MODELS, save_figure
from pipeline.figures.result_sheets import draw_result_sheet, result_rows
from pipeline.figures.sheet_tiles import ReadImage, save_sheet
from pipeline.figures.shown_queries import ShownQueries, choose_failures, choose_successes


def write_sheets(
    results: Path,
    read_image: ReadImage,
    class_of: Mapping[str, str],
    class_names: Mapping[int, str],
    params: Params,
    out: Path,
) -> None:
    """Write failures, successes, near_duplicates and confusions, as PNG, into `out`.

    results: directory of <model>/queries.parquet and the others. class_of: image_id -> the names of
    its classes. class_names: label -> display name.
    """
    trained = results / MODELS[-1]
    queries = _read(trained, "queries", tables.QUERIES)
    neighbors = _read(trained, "neighbors", tables.NEIGHBORS)
    near_duplicates = _read(trained, "near_duplicates", tables.NEAR_DUPLICATES)
    # `evaluate.neighbors` may have kept fewer results than `plot.columns`.
    kept = int(neighbors["rank"].max()) if len(neighbors) else params.plot.columns
    for stem, shown in _choose_queries(trained, queries, class_of, params).items():
        rows = result_rows(
            shown,
            queries,
            neighbors,
            class_of,
            columns=min(params.plot.columns, kept),
            near_duplicates=set(
                zip(near_duplicates["image_id"], near_duplicates["top_hit"], strict=True)
            ),
        )
        save_sheet(draw_result_sheet(shown.title, rows, read_image), out / f"{stem}.png")
    across = max(1, params.plot.columns // 2)
    pairs = choose_near_duplicates(
        near_duplicates,
        queries,
        class_of,
        model=trained.name,
        most=params.plot.rows * across,
        **params.evaluate.near_duplicate.model_dump(),
    )
    sheet = draw_near_duplicate_sheet(pairs, read_image, columns=across)
    save_sheet(sheet, out / "near_duplicates.png")
    confusions = {each: _read(results / each, "confusions", tables.CONFUSIONS) for each in MODELS}
    save_figure(draw_confusions(confusions, class_names, read_image), out / "confusions.png")


def _choose_queries(
    results: Path, queries: pd.DataFrame, class_of: Mapping[str, str], params: Params
) -> dict[str, ShownQueries]:
    """Return what the sheets `failures` and `successes` show, from one model's results."""
    failures = _read(results, "failures", tables.FAILURES)
    successes = _read(results, "successes", tables.SUCCESSES)
    model, rows, k = results.name, params.plot.rows, params.evaluate.failure_k
    return {
        "failures": choose_failures(failures, queries, model=model, k=k, rows=rows),
        "successes": choose_successes(
            successes, queries, class_of, model=model, rows=rows, seed=params.seed
        ),
    }


def _read(directory: Path, name: str, kind: tables.Table) -> pd.DataFrame:
    table: pd.DataFrame = tables.read_table(directory / f"{name}.parquet", kind).to_pandas()
    return table
