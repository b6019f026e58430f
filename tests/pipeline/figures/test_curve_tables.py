import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.figures.curve_tables import knn_curves, wide_curves, write_csv

NAMES = {0: "cup", 1: "jug"}


def curves_of(*, better: float) -> pd.DataFrame:
    rows = [("precision_recall", None, x, 0.5 + better - x / 4) for x in (0.0, 0.5, 1.0)]
    for label in NAMES:
        rows += [("precision_recall", label, x, 0.1 * label + better) for x in (0.0, 1.0)]
    rows += [("recall_at_k", None, float(k), better + k / 100) for k in (1, 5, 10)]
    rows += [("similarity_positive", None, x, better) for x in (-0.5, 0.5)]
    rows += [("similarity_negative", None, x, 1 - better) for x in (-0.5, 0.5)]
    table = pd.DataFrame(rows, columns=["curve", "label", "x", "y"])
    return table.astype({"label": "float64"})


def both() -> dict[str, pd.DataFrame]:
    return {"baseline": curves_of(better=0.1), "finetuned": curves_of(better=0.3)}


def test_each_value_stands_under_its_model() -> None:
    tables = wide_curves(both(), NAMES)
    whole = tables["precision_recall"]
    assert list(whole.columns) == ["recall", "baseline", "finetuned"]
    assert whole["recall"].tolist() == [0.0, 0.5, 1.0]
    assert whole["baseline"].tolist() == pytest.approx([0.6, 0.475, 0.35])
    assert whole["finetuned"].tolist() == pytest.approx([0.8, 0.675, 0.55])
    at_k = tables["recall_at_k"]
    assert at_k["k"].tolist() == [1, 5, 10]
    assert at_k["finetuned"].tolist() == pytest.approx([0.31, 0.35, 0.4])


def test_a_class_curve_stands_under_the_name_of_its_class() -> None:
    table = wide_curves(both(), NAMES)["precision_recall_classes"]
    assert list(table.columns) == ["class", "recall", "baseline", "finetuned"]
    assert table["class"].tolist() == ["cup", "cup", "jug", "jug"]
    assert table["baseline"].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])


def test_positive_and_negative_similarities_are_columns_of_each_model() -> None:
    table = wide_curves(both(), NAMES)["similarities"]
    assert list(table.columns) == [
        "similarity",
        "baseline_positive",
        "baseline_negative",
        "finetuned_positive",
        "finetuned_negative",
    ]
    assert table.iloc[0].tolist() == pytest.approx([-0.5, 0.1, 0.9, 0.3, 0.7])


def test_bins_of_one_model_alone_leave_the_other_empty() -> None:
    curves = both()
    curves["baseline"] = curves["baseline"].replace({"x": {-0.5: -0.75}})
    table = wide_curves(curves, NAMES)["similarities"]
    assert table["similarity"].tolist() == [-0.75, -0.5, 0.5]
    assert table["finetuned_positive"].isna().tolist() == [True, False, False]


def test_without_class_curves_the_table_keeps_its_header(tmp_path) -> None:
    curves = {name: table[table["label"].isna()] for name, table in both().items()}
    table = wide_curves(curves, NAMES)["precision_recall_classes"]
    write_csv(table, tmp_path / "new" / "classes.csv")
    text = (tmp_path / "new" / "classes.csv").read_text()
    assert text == "class,recall,baseline,finetuned\n"


def knn_of(*, better: float) -> pd.DataFrame:
    rows = [
        (distance, k, val, test + better, k == 3)
        for distance in ("cosine", "euclidean")
        for k, val, test in ((1, 0.5, 0.3), (3, 0.6, 0.2), (20, None, 0.1))
    ]
    return pd.DataFrame(rows, columns=["distance", "k", "val_accuracy", "test_accuracy", "chosen"])


def test_knn_accuracy_over_k_is_one_table_for_each_distance() -> None:
    tables = {"baseline": knn_of(better=0.1), "finetuned": knn_of(better=0.4)}
    tables["finetuned"].loc[tables["finetuned"]["distance"] == "cosine", "test_accuracy"] = 0
    by_distance = knn_curves(tables)
    assert list(by_distance) == ["knn_accuracy_cosine", "knn_accuracy_euclidean"]
    table = by_distance["knn_accuracy_euclidean"]
    assert table["k"].tolist() == [1, 3, 20]
    assert table["baseline"].tolist() == pytest.approx([0.4, 0.3, 0.2])
    assert table["finetuned"].tolist() == pytest.approx([0.7, 0.6, 0.5])
    assert table["finetuned_val"].tolist()[:2] == [0.5, 0.6]
    assert table["finetuned_val"].isna().tolist() == [False, False, True]
    # On test, at the k that validation chose.
    assert table["finetuned_chosen"].dropna().to_dict() == {1: pytest.approx(0.6)}
    assert by_distance["knn_accuracy_cosine"]["finetuned"].tolist() == [0, 0, 0]


def test_a_class_without_a_name_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^classes: label 1 has no name; run: dvc repro$"):
        wide_curves(both(), {0: "cup"})
