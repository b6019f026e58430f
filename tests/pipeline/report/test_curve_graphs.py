from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.report.curve_graphs import (
    Graph,
    precision_recall_graph,
    read_graphs,
    read_history,
    training_graphs,
)
from tests.helpers.reports import write_run_files

Curve = tuple[list[float], list[float]]


def read(folder: Path, *, distance: str = "cosine") -> dict[str, Graph]:
    files = write_run_files(folder)
    graphs = read_graphs(files.curves, files.history, distance=distance)
    return {graph.name: graph for graph in graphs}


def curves(graph: Graph, view: int = 0) -> dict[str, Curve]:
    return {trace["name"]: (trace["x"], trace["y"]) for trace in graph.views[view].traces}


def test_the_curves_are_those_of_the_csv(tmp_path: Path) -> None:
    graphs = read(tmp_path)
    assert list(graphs) == [
        *("training_loss", "validation", "precision_recall", "recall_at_k"),
        *("similarities_baseline", "similarities_finetuned", "knn_accuracy"),
    ]
    assert curves(graphs["training_loss"])["loss"] == ([1, 2], [2.0, 1.0])
    assert curves(graphs["validation"])["recall@1"] == ([1, 2], [0.5, 0.7])
    assert curves(graphs["precision_recall"])["finetuned"] == ([0, 1], [0.7, 0.2])
    assert curves(graphs["recall_at_k"])["baseline"] == ([1, 5], [0.235, 0.4])
    # What was not measured is left out.
    assert curves(graphs["knn_accuracy"])["finetuned, validation"] == ([1], [0.9])
    similarities = curves(graphs["similarities_finetuned"])
    assert similarities["not relevant"] == ([0.1, 0.5], [2.0, 0.2])


def test_precision_over_recall_has_a_view_of_each_class_the_weakest_first(tmp_path: Path) -> None:
    graph = read(tmp_path)["precision_recall"]
    # A class may be called NA.
    assert [view.name for view in graph.views] == ["all queries", "NA", "cup"]
    assert curves(graph, 1) == {"baseline": ([0, 1], [0.2, 0.1]), "finetuned": ([0, 1], [0.3, 0.2])}


def test_without_curves_by_class_there_is_the_view_of_all_queries() -> None:
    table = pd.DataFrame({"recall": [0.0], "baseline": [0.1], "finetuned": [0.2]})
    graph = precision_recall_graph(table, table[:0].assign(**{"class": []}))
    assert [view.name for view in graph.views] == ["all queries"]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_distance_of_the_index_comes_first_and_the_chosen_k_is_ringed(
    tmp_path: Path, distance: str
) -> None:
    graph = read(tmp_path, distance=distance)["knn_accuracy"]
    other = "euclidean" if distance == "cosine" else "cosine"
    assert [view.name for view in graph.views] == [f"{distance} distance", f"{other} distance"]
    of_cosine = curves(graph, 0 if distance == "cosine" else 1)
    assert of_cosine["finetuned"] == ([1, 5], [0.5, 0.6])
    assert of_cosine["finetuned, chosen k"] == ([1], [0.5])


def test_without_an_epoch_nothing_is_drawn_of_the_training() -> None:
    assert training_graphs(pd.DataFrame({"epoch": [], "loss": []})) == []


def test_a_history_that_is_none_is_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file; run the stage that writes it"):
        read_history(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="not a CSV table"):
        read_history(tmp_path / "empty.csv")
    (tmp_path / "text.csv").write_text("epoch,loss\n1,half\n")
    with pytest.raises(UserError, match=r"not a CSV table \(Unable to parse string 'half' at "):
        read_history(tmp_path / "text.csv")
    (tmp_path / "other.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(UserError, match="found columns step, loss; 'epoch' is missing"):
        read_history(tmp_path / "other.csv")
