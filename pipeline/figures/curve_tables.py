"""Curves of both models -> one CSV for each kind of curve: what `dvc plots` and the report show."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.data import tables
from pipeline.data.class_names import names_of
from pipeline.data.files import written_whole
from pipeline.figures.palette import MODELS
from pipeline.index.distances import DISTANCES

# Twelve decimals join the same x of two models even if they computed it in a different order.
X_DECIMALS = 12
Y_DECIMALS = 6


def write_curves(results: Path, class_names: Mapping[int, str], out: Path) -> None:
    """Write the tables of `wide_curves` and `knn_curves` as CSV files into `out`.

    results: directory of <model>/curves.parquet and <model>/knn.parquet. class_names: label ->
    display name.
    """
    curves = _read(results, "curves", tables.CURVES)
    knn = _read(results, "knn", tables.KNN)
    for stem, table in (wide_curves(curves, class_names) | knn_curves(knn)).items():
        write_csv(table, out / f"{stem}.csv")


def wide_curves(
    curves: Mapping[str, pd.DataFrame], class_names: Mapping[int, str]
) -> dict[str, pd.DataFrame]:
    """Return the tables of `dvc plots` by file stem, from each model's CURVES.

    precision_recall: recall, one column a model. precision_recall_classes: class, recall, one
    column a model; no rows where no class has a curve. recall_at_k: k, one column a model.
    similarities: similarity, `<model>_positive` and `<model>_negative`. A model without a value
    at some x has NaN there.

    Raises:
        UserError: a class of the curves has no name.
    """
    return {
        "precision_recall": _all_queries(curves, "precision_recall", x="recall"),
        "precision_recall_classes": _by_class(curves, class_names),
        "recall_at_k": _all_queries(curves, "recall_at_k", x="k").astype({"k": int}),
        "similarities": _similarities(curves),
    }


def knn_curves(knn: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the kNN accuracy over k, one table `knn_accuracy_<distance>`, from each model's KNN.

    k, one column a model (on test), `<model>_val` (NaN where validation has too few images for
    this k), `<model>_chosen` (on test, at the k that validation chose; NaN elsewhere).
    """
    return {f"knn_accuracy_{distance}": _knn(knn, distance) for distance in DISTANCES}


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write `table` as CSV, rounded to 6 decimals; creates the folder."""
    with written_whole(path) as (unfinished,):
        table.round(Y_DECIMALS).to_csv(unfinished, index=False, lineterminator="\n")


def _read(results: Path, name: str, kind: tables.Table) -> dict[str, pd.DataFrame]:
    return {
        model: tables.read_table(results / model / f"{name}.parquet", kind).to_pandas()
        for model in MODELS
    }


def _all_queries(curves: Mapping[str, pd.DataFrame], kind: str, *, x: str) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        selected = rows[(rows["curve"] == kind) & rows["label"].isna()]
        columns[model] = selected.set_index(selected["x"].round(X_DECIMALS))["y"]
    return _join(columns, [x])


def _by_class(curves: Mapping[str, pd.DataFrame], class_names: Mapping[int, str]) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        selected = rows[(rows["curve"] == "precision_recall") & rows["label"].notna()]
        keys = [selected["label"].astype("int64"), selected["x"].round(X_DECIMALS)]
        columns[model] = selected.set_index(keys)["y"]
    table = _join(columns, ["label", "recall"])
    names = [name for label in table["label"] for name in names_of([int(label)], class_names)]
    table.insert(0, "class", names)
    return table.drop(columns="label")


def _similarities(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        for sign in ("positive", "negative"):
            selected = rows[rows["curve"] == f"similarity_{sign}"]
            columns[f"{model}_{sign}"] = selected.set_index(selected["x"].round(X_DECIMALS))["y"]
    return _join(columns, ["similarity"])


def _knn(knn: Mapping[str, pd.DataFrame], distance: str) -> pd.DataFrame:
    of_distance = {
        model: rows[rows["distance"] == distance].set_index("k") for model, rows in knn.items()
    }
    columns = {model: rows["test_accuracy"] for model, rows in of_distance.items()}
    columns |= {f"{model}_val": rows["val_accuracy"] for model, rows in of_distance.items()}
    columns |= {
        f"{model}_chosen": rows["test_accuracy"].where(rows["chosen"])
        for model, rows in of_distance.items()
    }
    return _join(columns, ["k"])


def _join(columns: Mapping[str, pd.Series], index: list[str]) -> pd.DataFrame:
    table = pd.concat(columns, axis=1).sort_index()
    table.index.names = index
    return table.reset_index()
