"""The curves as plotly draws them: traces and layouts, from the CSV that `dvc plots` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.figures.curve_figures import WATCHED
from pipeline.figures.curve_tables import read_history
from pipeline.figures.palette import FAINT, MODEL_COLOURS, MODELS, OTHER
from pipeline.report.dataset_summary import MOST_BARS, SPLITS, DatasetSummary

Trace = dict[str, Any]

DASHES = {"-": "solid", "--": "dash", ":": "dot"}
SPLIT_COLOURS = {"train": "#1f5fd1", "val": "#e8710a", "test": "#1a8f3c"}
MOST_BINS = 30


@dataclass(frozen=True)
class Graph:
    """One figure of the page. layout: what plotly needs beside the page's own look."""

    name: str
    heading: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]


def read_graphs(curves: Path, history: Path) -> list[Graph]:
    """Return the graphs of a run from the folder of the curves' CSV and the training's history."""
    table = {
        stem: pd.read_csv(curves / f"{stem}.csv")
        for stem in ("precision_recall", "recall_at_k", "knn_accuracy", "similarities")
    }
    return [
        *training_graphs(read_history(history)),
        _precision_recall(table["precision_recall"]),
        _recall_at_k(table["recall_at_k"]),
        _knn(table["knn_accuracy"]),
        *(_similarities(table["similarities"], model) for model in MODELS),
    ]


def training_graphs(history: pd.DataFrame) -> list[Graph]:
    """Return the loss and the watched validation figures over the epochs; none of no epoch."""
    if history.empty or "loss" not in history:
        return []
    colour, axis = MODEL_COLOURS["finetuned"], {"xaxis": {"title": {"text": "epoch"}}}
    loss = _line(history, "epoch", "loss", name="loss", colour=colour, markers=True)
    watched = [
        _line(history, "epoch", name, name=label, colour=colour, markers=True, dash=DASHES[dash])
        for name, (label, dash) in WATCHED.items()
        if name in history
    ]
    return [
        Graph("training_loss", "Training loss", [loss], axis),
        Graph("validation", "Validation, after each epoch", watched, axis | _shares(None)),
    ]


def class_graph(dataset: DatasetSummary) -> Graph | None:
    """Return the images of each class, stacked by split; of many classes, a histogram.

    None where every class has equally many: a sentence says that better.
    """
    totals = dataset.totals
    if len(set(totals.values())) < 2:
        return None
    stacked = {"barmode": "stack", "bargap": 0.15}
    if len(totals) <= MOST_BARS:
        order = sorted(totals, key=lambda name: (-totals[name], name))
        bars = [
            {
                "type": "bar",
                "name": split,
                # By place, not by name: plotly would make numbers and dates of some names.
                "x": list(range(len(order))),
                "y": [dataset.sizes[split].get(name, 0) for name in order],
                "text": [_plain(name) for name in order],
                "textposition": "none",
                "hovertemplate": "%{text}: %{y}",
                "marker": {"color": SPLIT_COLOURS[split]},
            }
            for split in SPLITS
            if dataset.sizes[split]
        ]
        ticks = {
            "tickvals": list(range(len(order))),
            "ticktext": [_plain(name) for name in order],
            "tickangle": -40,
            "automargin": True,
        }
        return Graph(
            "classes",
            "Images of each class",
            bars,
            {**stacked, "xaxis": ticks, **_counted("images")},
        )
    return Graph("classes", "Classes by their number of images", _bins(dataset), {
        **stacked,
        "xaxis": {"title": {"text": "images of a class"}},
        **_counted("classes"),
    })  # fmt: skip


def _bins(dataset: DatasetSummary) -> list[Trace]:
    totals = dataset.totals
    most, least = max(totals.values()), min(totals.values())
    width = -(-(most - least + 1) // MOST_BINS)
    starts = list(range(least, most + 1, width))
    count = [0] * len(starts)
    for size in totals.values():
        count[(size - least) // width] += 1
    names = [str(start) if width == 1 else f"{start} to {start + width - 1}" for start in starts]
    return [{
        "type": "bar",
        "name": "classes",
        "x": [start + (width - 1) / 2 for start in starts],
        "y": count,
        "width": [width * 0.9] * len(starts),
        "text": names,
        "textposition": "none",
        "hovertemplate": "%{y} classes of %{text} images<extra></extra>",
        "marker": {"color": MODEL_COLOURS["finetuned"]},
        "showlegend": False,
    }]  # fmt: skip


def _precision_recall(table: pd.DataFrame) -> Graph:
    traces = [_line(table, "recall", model, colour=MODEL_COLOURS[model]) for model in MODELS]
    layout = {
        "xaxis": {"title": {"text": "recall"}, "range": [-0.02, 1.02]},
        **_shares("precision"),
    }
    return Graph("precision_recall", "Precision over recall, all queries", traces, layout)


def _recall_at_k(table: pd.DataFrame) -> Graph:
    traces = [
        _line(table, "k", model, colour=MODEL_COLOURS[model], markers=True) for model in MODELS
    ]
    layout = {**_each_k(table["k"]), "yaxis": {"title": {"text": "share of queries"}}}
    return Graph(
        "recall_at_k", "Recall@k: queries with a relevant image in the top k", traces, layout
    )


def _knn(table: pd.DataFrame) -> Graph:
    traces = []
    for model in MODELS:
        colour = MODEL_COLOURS[model]
        traces.append(_line(table, "k", model, name=f"{model}, test", colour=colour, markers=True))
        name = f"{model}, validation"
        traces.append(_line(table, "k", f"{model}_val", name=name, colour=colour, dash="dash"))
    layout = {**_each_k(table["k"]), "yaxis": {"title": {"text": "share of queries"}}}
    return Graph("knn_accuracy", "kNN accuracy over k, neighbours that vote", traces, layout)


def _similarities(table: pd.DataFrame, model: str) -> Graph:
    names = [f"{model}_negative", f"{model}_positive"]
    rows = table[["similarity", *names]].dropna()
    seen = rows[(rows[names] > 1e-3).any(axis=1)]["similarity"]
    own = MODEL_COLOURS[model]
    traces = [
        _line(rows, "similarity", column, name=label, colour=line, dash=dash)
        | {"fill": "tozeroy", "fillcolor": f"{fill}66"}
        for column, label, line, fill, dash in (
            (names[0], "other class", FAINT, OTHER, "dash"),
            (names[1], "same class", own, own, "solid"),
        )
    ]
    axis: dict[str, Any] = {"title": {"text": "similarity"}}
    if len(seen):
        axis["range"] = [float(seen.min()) - 0.02, float(seen.max()) + 0.02]
    layout = {"xaxis": axis, "yaxis": {"title": {"text": "density"}, "rangemode": "tozero"}}
    return Graph(f"similarities_{model}", f"Similarity to a query, {model}", traces, layout)


def _line(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    colour: str,
    name: str | None = None,
    dash: str = "solid",
    markers: bool = False,
) -> Trace:
    drawn = table[[x, y]].dropna()
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers and len(drawn) < 30 else "lines",
        "name": name or y,
        "x": drawn[x].tolist(),
        "y": [round(value, 6) for value in drawn[y]],
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"size": 6},
    }


def _shares(title: str | None) -> dict[str, Any]:
    return {"yaxis": {"title": {"text": title or "share"}, "range": [-0.02, 1.02]}}


def _counted(title: str) -> dict[str, Any]:
    return {"yaxis": {"title": {"text": title}}}


def _each_k(ks: pd.Series) -> dict[str, Any]:
    # Log spacing, since k is asked as 1, 5, 10, 100; each k is named once, unless too many.
    named = [int(k) for k in ks if len(ks) <= 8 or k in (1, 2, 5, 10, 20, 50, 100)]
    axis = {"type": "log", "tickvals": named, "ticktext": [str(k) for k in named]}
    return {"xaxis": axis | {"title": {"text": "k"}}}


def _plain(text: str) -> str:
    # plotly reads a few tags in texts; a name is never one.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
