"""The curves of both models as files: CSV for `dvc plots`, PNG for people."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.data import tables
from pipeline.figures import curve_figures, curve_tables
from pipeline.figures.palette import MODELS, save_figure


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
    read = _read(results, "curves", tables.CURVES)
    wide = curve_tables.wide_curves(read, names)
    for stem, table in wide.items():
        curve_tables.write_csv(table, csv_out / f"{stem}.csv")
    for stem, figure in curve_figures.draw_charts(wide, curve_tables.read_history(history)).items():
        save_figure(figure, png_out / f"{stem}.png")
    knn = _read(results, "knn", tables.KNN)
    curve_tables.write_csv(
        curve_tables.knn_curves(knn, distance=distance), csv_out / "knn_accuracy.csv"
    )
    save_figure(curve_figures.draw_knn(knn, distance=distance), png_out / "knn_accuracy.png")


def _read(results: Path, name: str, kind: tables.Table) -> dict[str, pd.DataFrame]:
    return {
        model: tables.read_table(results / model / f"{name}.parquet", kind).to_pandas()
        for model in MODELS
    }
