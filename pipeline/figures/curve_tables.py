"""Curves of several models -> one wide table a kind of curve: what `dvc plots` can compare."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.data.class_names import display_names
from pipeline.errors import UserError

# Twelve decimals join the same x of two models even where it was computed in another order.
X_DECIMALS = 12
Y_DECIMALS = 6


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
        "precision_recall": _of_all_queries(curves, "precision_recall", x="recall"),
        "precision_recall_classes": _of_classes(curves, class_names),
        "recall_at_k": _of_all_queries(curves, "recall_at_k", x="k").astype({"k": int}),
        "similarities": _similarities(curves),
    }


def knn_curves(tables: Mapping[str, pd.DataFrame], *, distance: str) -> pd.DataFrame:
    """Return the kNN accuracy over k by one distance, from each model's KNN table.

    k, one column a model (on test), `<model>_val` (NaN where validation passes that k over).
    """
    columns = {}
    for ending, column in (("", "test_accuracy"), ("_val", "val_accuracy")):
        for model, rows in tables.items():
            chosen = rows[rows["distance"] == distance]
            columns[f"{model}{ending}"] = chosen.set_index("k")[column]
    return _join(columns, ["k"])


def read_history(path: Path) -> pd.DataFrame:
    """Return the rows of train_history.csv, one an epoch.

    Raises:
        UserError: the file is missing, empty or has no column `epoch`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro train")
    try:
        history = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a CSV table ({error}); run: dvc repro train") from None
    if "epoch" not in history:
        found = ", ".join(history.columns)
        raise UserError(f"{path}: found columns {found}; 'epoch' is missing; run: dvc repro train")
    return history


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write `table` as CSV, rounded to 6 decimals, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round(Y_DECIMALS).to_csv(path, index=False, lineterminator="\n")


def _of_all_queries(curves: Mapping[str, pd.DataFrame], kind: str, *, x: str) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        chosen = rows[(rows["curve"] == kind) & rows["label"].isna()]
        columns[model] = chosen.set_index(chosen["x"].round(X_DECIMALS))["y"]
    return _join(columns, [x])


def _of_classes(curves: Mapping[str, pd.DataFrame], class_names: Mapping[int, str]) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        chosen = rows[(rows["curve"] == "precision_recall") & rows["label"].notna()]
        keys = [chosen["label"].astype("int64"), chosen["x"].round(X_DECIMALS)]
        columns[model] = chosen.set_index(keys)["y"]
    table = _join(columns, ["label", "recall"])
    unnamed = sorted(set(table["label"]) - set(class_names))
    if unnamed:
        raise UserError(f"curves: class {unnamed[0]} has no name in the classes; run: dvc repro")
    names = display_names(class_names)
    table.insert(0, "class", [names[int(label)] for label in table["label"]])
    return table.drop(columns="label")


def _similarities(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    columns = {}
    for model, rows in curves.items():
        for sign in ("positive", "negative"):
            chosen = rows[rows["curve"] == f"similarity_{sign}"]
            columns[f"{model}_{sign}"] = chosen.set_index(chosen["x"].round(X_DECIMALS))["y"]
    return _join(columns, ["similarity"])


def _join(columns: Mapping[str, pd.Series], index: list[str]) -> pd.DataFrame:
    table = pd.concat(columns, axis=1).sort_index()
    table.index.names = index
    return table.reset_index()
