"""The curves of both models as files: CSV for `dvc plots`, PNG for people."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline import schemas
from pipeline.plots import charts, curves
from pipeline.plots.palette import MODELS, save_figure


def write_curves(
    results: Path,
    history: Path,
    names: Mapping[int, str],
    *,
    distance: str,
    csv_out: Path,
    png_out: Path,
) -> None:
    """Write each kind of curve as one CSV and one PNG, and the history of training as a PNG.

    results: directory of <model>/curves.parquet and <model>/knn.parquet. names: label -> class
    name. distance: that of the index.
    """
    read = _read(results, "curves", schemas.CURVES)
    tables = curves.wide_curves(read, names)
    for stem, table in tables.items():
        curves.write_csv(table, csv_out / f"{stem}.csv")
    for stem, figure in charts.draw_charts(tables, curves.read_history(history)).items():
        save_figure(figure, png_out / f"{stem}.png")
    knn = _read(results, "knn", schemas.KNN)
    curves.write_csv(curves.knn_curves(knn, distance=distance), csv_out / "knn_accuracy.csv")
    save_figure(charts.draw_knn(knn, distance=distance), png_out / "knn_accuracy.png")


def _read(results: Path, name: str, kind: schemas.Table) -> dict[str, pd.DataFrame]:
    return {
        model: schemas.read_table(results / model / f"{name}.parquet", kind).to_pandas()
        for model in MODELS
    }
