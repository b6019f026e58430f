from collections import Counter

import pytest

from pipeline.report.class_size_graph import MOST_BARS, MOST_BINS, class_size_graph
from pipeline.report.dataset_summary import DatasetSummary, RejectedImages


def dataset(**sizes: dict[str, int]) -> DatasetSummary:
    """Return a dataset with the given sizes: split=class name -> images."""
    return DatasetSummary(
        images=0,
        classes=0,
        groups=0,
        queries=0,
        gallery=0,
        splits=[],
        rejected=RejectedImages(0, [], []),
        sizes={split: Counter(sizes.get(split, {})) for split in ("train", "val", "test")},
    )


def test_of_few_classes_each_has_a_bar_the_largest_first_whatever_its_name() -> None:
    graph = class_size_graph(dataset(train={"007": 2, "<b>": 1}, test={"<b>": 4}))
    assert graph
    bars = {trace["name"]: (trace["x"], trace["y"]) for trace in graph.views[0].traces}
    assert bars == {"train": ([0, 1], [1, 2]), "test": ([0, 1], [4, 0])}
    assert graph.layout["xaxis"]["ticktext"] == ["&lt;b&gt;", "007"]


@pytest.mark.parametrize("largest", [MOST_BARS + 5, 1000])
def test_of_many_classes_each_is_counted_in_one_bin(largest: int) -> None:
    sizes = {f"c{size}": size for size in range(2, MOST_BARS + 5)} | {"c": largest}
    graph = class_size_graph(dataset(train=sizes))
    assert graph
    [bins] = graph.views[0].traces
    assert sum(bins["y"]) == len(sizes)
    assert len(bins["y"]) <= MOST_BINS
    for middle, count, name in zip(bins["x"], bins["y"], bins["text"], strict=True):
        ends = [int(end) for end in name.split(" to ")]
        assert count == sum(ends[0] <= size <= ends[-1] for size in sizes.values())
        assert middle == sum(ends) / len(ends)


def test_classes_of_one_size_need_no_graph() -> None:
    assert class_size_graph(dataset(train={"a": 10}, test={"b": 10})) is None
