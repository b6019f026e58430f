from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report.dataset_summary import MOST_BARS, DatasetSummary, Rejected
from pipeline.report.graphs import MOST_BINS, class_graph, read_graphs, training_graphs
from tests.helpers.reports import write_sources


def dataset(**sizes: dict[str, int]) -> DatasetSummary:
    """Of split=class name -> images."""
    return DatasetSummary(
        images=0,
        classes=0,
        groups=0,
        queries=0,
        gallery=0,
        parts=[],
        rejected=Rejected(0, [], []),
        sizes={split: Counter(sizes.get(split, {})) for split in ("train", "val", "test")},
    )


def test_the_curves_are_those_of_the_csv(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    graphs = {graph.name: graph for graph in read_graphs(sources.curves, sources.history)}
    assert list(graphs) == [
        *("training_loss", "validation", "precision_recall", "recall_at_k", "knn_accuracy"),
        *("similarities_baseline", "similarities_finetuned"),
    ]
    drawn = {
        (graph.name, trace["name"]): (trace["x"], trace["y"])
        for graph in graphs.values()
        for trace in graph.traces
    }
    assert drawn["training_loss", "loss"] == ([1, 2], [2.0, 1.0])
    assert drawn["validation", "recall@1"] == ([1, 2], [0.5, 0.7])
    assert drawn["precision_recall", "finetuned"] == ([0, 1], [0.7, 0.2])
    assert drawn["recall_at_k", "baseline"] == ([1, 5], [0.235, 0.4])
    # What was not measured is left out.
    assert drawn["knn_accuracy", "finetuned, validation"] == ([1], [0.9])
    assert drawn["similarities_finetuned", "other class"] == ([0.1, 0.5], [2.0, 0.2])


def test_without_an_epoch_nothing_is_drawn_of_the_training() -> None:
    assert training_graphs(pd.DataFrame({"epoch": [], "loss": []})) == []


def test_few_classes_have_a_bar_each_the_largest_first_whatever_they_are_called() -> None:
    graph = class_graph(dataset(train={"007": 2, "<b>": 1}, test={"<b>": 4}))
    assert graph
    bars = {trace["name"]: (trace["x"], trace["y"]) for trace in graph.traces}
    assert bars == {"train": ([0, 1], [1, 2]), "test": ([0, 1], [4, 0])}
    assert graph.layout["xaxis"]["ticktext"] == ["&lt;b&gt;", "007"]


@pytest.mark.parametrize("largest", [MOST_BARS + 5, 1000])
def test_of_many_classes_each_is_counted_in_one_bin(largest: int) -> None:
    sizes = {f"c{size}": size for size in range(2, MOST_BARS + 5)} | {"c": largest}
    graph = class_graph(dataset(train=sizes))
    assert graph
    (bins,) = graph.traces
    assert sum(bins["y"]) == len(sizes)
    assert len(bins["y"]) <= MOST_BINS
    for middle, count, name in zip(bins["x"], bins["y"], bins["text"], strict=True):
        ends = [int(end) for end in name.split(" to ")]
        assert count == sum(ends[0] <= size <= ends[-1] for size in sizes.values())
        assert middle == sum(ends) / len(ends)


def test_classes_of_one_size_need_no_graph() -> None:
    assert class_graph(dataset(train={"a": 10}, test={"b": 10})) is None
