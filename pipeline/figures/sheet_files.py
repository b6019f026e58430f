"""What `plot` draws of single queries: failures, successes, label noise, confused classes."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.figures import palette
from pipeline.figures.confusion_bars import draw_confusions
from pipeline.figures.near_duplicate_sheets import choose_near_duplicates, draw_near_duplicate_sheet
from pipeline.figures.result_sheets import draw_result_sheet, result_rows
from pipeline.figures.sheet_tiles import ReadImage, save_sheet
from pipeline.figures.shown_queries import ShownQueries, choose_failures, choose_successes


def write_sheets(
    results: Path,
    image: ReadImage,
    class_of: Mapping[str, str],
    names: Mapping[int, str],
    params: Params,
    out: Path,
) -> None:
    """Write failures, successes, near_duplicates and confusions, as PNG, into `out`.

    The sheets are the trained model's.

    results: directory of <model>/queries.parquet and the others. class_of: image_id -> the name of
    its classes. names: label -> class name.
    """
    model = palette.MODELS[-1]
    queries = _read(results / model, "queries", tables.QUERIES)
    neighbors = _read(results / model, "neighbors", tables.NEIGHBORS)
    failures = _read(results / model, "failures", tables.FAILURES)
    successes = _read(results / model, "successes", tables.SUCCESSES)
    near = _read(results / model, "near_duplicates", tables.NEAR_DUPLICATES)
    rows, columns = params.plot.rows, params.plot.columns
    chosen: dict[str, ShownQueries] = {
        "failures": choose_failures(
            failures, queries, model=model, k=params.evaluate.failure_k, rows=rows
        ),
        "successes": choose_successes(
            successes, queries, class_of, model=model, rows=rows, seed=params.seed
        ),
    }
    same = frozenset(zip(near["image_id"], near["top_hit"], strict=True))
    # No more can be shown than `evaluate.neighbors` kept.
    kept = int(neighbors["rank"].max()) if len(neighbors) else columns
    for stem, cases in chosen.items():
        shown = result_rows(
            cases,
            queries,
            neighbors,
            class_of,
            columns=min(columns, kept),
            near_duplicates=same,
        )
        save_sheet(draw_result_sheet(cases.title, shown, image), out / f"{stem}.png")
    across = max(1, columns // 2)
    limits = params.evaluate.near_duplicate.model_dump()
    pairs = choose_near_duplicates(
        near, queries, class_of, model=model, most=rows * across, **limits
    )
    save_sheet(draw_near_duplicate_sheet(pairs, image, columns=across), out / "near_duplicates.png")
    confusions = {
        each: _read(results / each, "confusions", tables.CONFUSIONS) for each in palette.MODELS
    }
    palette.save_figure(draw_confusions(confusions, names, image), out / "confusions.png")


def _read(directory: Path, name: str, kind: tables.Table) -> pd.DataFrame:
    table: pd.DataFrame = tables.read_table(directory / f"{name}.parquet", kind).to_pandas()
    return table
