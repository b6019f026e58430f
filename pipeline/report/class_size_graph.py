"""How many images each class has, as plotly draws it."""

from typing import Any

from pipeline.figures.palette import MODEL_COLORS
from pipeline.report.curve_graphs import Graph, Trace, View
from pipeline.report.dataset_summary import SPLIT_NAMES, DatasetSummary

# With more classes than this, a histogram is drawn instead of one bar a class.
MOST_BARS = 40
MOST_BINS = 30
SPLIT_COLORS = {"train": "#1f5fd1", "val": "#e8710a", "test": "#1a8f3c"}


def class_size_graph(dataset: DatasetSummary) -> Graph | None:
    """Return the images of each class, stacked by split; of many classes, a histogram.

    None if every class has the same number of images: a sentence says that better.
    """
    totals = dataset.totals
    if len(set(totals.values())) < 2:
        return None
    layout = {"barmode": "stack", "bargap": 0.15}
    if len(totals) > MOST_BARS:
        axes = _axes({"title": {"text": "images of a class"}}, y="classes")
        heading = "Classes by their number of images"
        return Graph("class_sizes", heading, [View("", [_histogram(dataset)])], layout | axes)
    names = sorted(totals, key=lambda name: (-totals[name], name))
    ticks = {
        "tickvals": list(range(len(names))),
        "ticktext": [_without_tags(name) for name in names],
        "tickangle": -40,
        "automargin": True,
    }
    bars = [_bars(dataset, split, names) for split in SPLIT_NAMES if dataset.sizes[split]]
    axes = _axes(ticks, y="images")
    return Graph("class_sizes", "Images of each class", [View("", bars)], layout | axes)


def _bars(dataset: DatasetSummary, split: str, names: list[str]) -> Trace:
    return {
        "type": "bar",
        "name": split,
        # By position, not by name: plotly would turn some names into numbers or dates.
        "x": list(range(len(names))),
        "y": [dataset.sizes[split].get(name, 0) for name in names],
        "text": [_without_tags(name) for name in names],
        "textposition": "none",
        "hovertemplate": "%{text}: %{y}",
        "marker": {"color": SPLIT_COLORS[split]},
    }


def _histogram(dataset: DatasetSummary) -> Trace:
    totals = dataset.totals
    most, least = max(totals.values()), min(totals.values())
    width = -(-(most - least + 1) // MOST_BINS)
    starts = list(range(least, most + 1, width))
    count = [0] * len(starts)
    for size in totals.values():
        count[(size - least) // width] += 1
    names = [str(start) if width == 1 else f"{start} to {start + width - 1}" for start in starts]
    return {
        "type": "bar",
        "name": "classes",
        "x": [start + (width - 1) / 2 for start in starts],
        "y": count,
        "width": [width * 0.9] * len(starts),
        "text": names,
        "textposition": "none",
        "hovertemplate": "%{y} classes of %{text} images<extra></extra>",
        "marker": {"color": MODEL_COLORS["finetuned"]},
        "showlegend": False,
    }


def _axes(x: dict[str, Any], *, y: str) -> dict[str, Any]:
    return {"xaxis": x, "yaxis": {"title": {"text": y}}}


def _without_tags(text: str) -> str:
    # plotly reads a few HTML tags in texts; a class name must be shown as it is.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
