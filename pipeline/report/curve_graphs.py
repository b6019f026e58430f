"""The curves as plotly draws them: traces and layouts, from the CSV files of `dvc plots`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.figures.palette import FAINT, MODEL_COLORS, MODELS, OTHER
from pipeline.report.csv_files import read_csv, to_numbers

Trace = dict[str, Any]

# Of the many validation metrics, those that a person watches, and the dash of each line.
WATCHED = {
    "val_recall_at_1": ("recall@1", "solid"),
    "val_map_at_r": ("mAP@R", "dash"),
    "val_map": ("mAP", "dot"),
}
# More points would hide the line that joins them.
MOST_MARKERS = 30
MOST_EPOCH_TICKS = 10


@dataclass(frozen=True)
class View:
    """One of the drawings that a graph can show: its name for the reader, and its traces."""

    name: str
    traces: Sequence[Trace]


@dataclass(frozen=True)
class Graph:
    """One graph of the page.

    views: the page shows the first; if there are several, the reader chooses one. layout: what
    plotly needs in addition to the page's own look.
    """

    name: str
    heading: str
    views: Sequence[View]
    layout: dict[str, Any] = field(default_factory=dict)

    def has_data(self) -> bool:
        """Return whether there is anything to draw: nothing is where nothing was measured."""
        traces = [trace for view in self.views for trace in view.traces]
        return any(x is not None for trace in traces for x in trace["x"])


def read_graphs(curves: Path, history: Path, *, distance: str) -> list[Graph]:
    """Return the graphs of a run from the folder of its curves and its train_history.csv.

    distance: the index's, which the kNN graph shows first.
    """
    table = {path.stem: _read_csv(path) for path in sorted(curves.glob("*.csv"))}
    return [
        *training_graphs(read_history(history)),
        precision_recall_graph(table["precision_recall"], table["precision_recall_classes"]),
        _recall_at_k(table["recall_at_k"]),
        *(_similarities(table["similarities"], model) for model in MODELS),
        knn_graph(
            {
                stem.removeprefix("knn_accuracy_"): each
                for stem, each in table.items()
                if stem.startswith("knn_accuracy_")
            },
            distance=distance,
        ),
    ]


def read_history(path: Path) -> pd.DataFrame:
    """Return the rows of train_history.csv, one an epoch.

    Raises:
        UserError: the file is missing, empty, not of numbers or has no column `epoch`.
    """
    history = read_csv(path, stage="train")
    if "epoch" not in history:
        found = ", ".join(history.columns)
        raise UserError(f"{path}: found columns {found}; 'epoch' is missing; run: dvc repro train")
    return to_numbers(history, path, stage="train")


def _read_csv(path: Path) -> pd.DataFrame:
    # A class may be called NA or 007.
    return pd.read_csv(path, dtype={"class": str}, keep_default_na=False, na_values=[""])


def training_graphs(history: pd.DataFrame) -> list[Graph]:
    """Return the loss and the watched validation metrics over the epochs; none without epochs."""
    if history.empty or "loss" not in history:
        return []
    color = MODEL_COLORS["finetuned"]
    axis: dict[str, Any] = {"xaxis": {"title": {"text": "epoch"}}}
    if len(history) <= MOST_EPOCH_TICKS:  # otherwise plotly would also name halves of an epoch
        axis["xaxis"]["dtick"] = 1
    loss = _line(history, "epoch", "loss", name="loss", color=color, markers=True)
    watched = [
        _line(history, "epoch", name, name=label, color=color, markers=True, dash=dash)
        for name, (label, dash) in WATCHED.items()
        if name in history
    ]
    return [
        Graph("training_loss", "Training loss", [View("", [loss])], axis),
        Graph(
            "validation",
            "Validation after each epoch",
            [View("", watched)],
            axis | _shares() | {"showlegend": True},
        ),
    ]


def precision_recall_graph(all_queries: pd.DataFrame, by_class: pd.DataFrame) -> Graph:
    """Return the interpolated precision over recall: of all queries, and of each class.

    The class where the trained model is weakest comes first: a reader looks for it.
    """
    weakest = by_class.groupby("class", sort=True)[MODELS[-1]].mean().sort_values(kind="stable")
    rows = dict(list(by_class.groupby("class")))
    tables = [("all queries", all_queries), *((str(name), rows[name]) for name in weakest.index)]
    views = [
        View(name, [_line(table, "recall", model, color=MODEL_COLORS[model]) for model in MODELS])
        for name, table in tables
    ]
    axis = {"title": {"text": "recall"}, "range": [-0.02, 1.02]}
    layout = {"xaxis": axis, **_shares("precision")}
    return Graph("precision_recall", "Precision over recall", views, layout)


def knn_graph(tables: dict[str, pd.DataFrame], *, distance: str) -> Graph:
    """Return the kNN accuracy over k by each distance, given {distance: table}.

    A ring marks the k that validation chose. `distance`, the index's, comes first.
    """
    names = sorted(tables, key=lambda name: (name != distance, name))
    ks = tables[distance]["k"]
    return Graph(
        "knn_accuracy",
        "kNN accuracy over k",
        [View(f"{name} distance", _knn(tables[name])) for name in names],
        {**_k_axis(ks, "k, the neighbors that vote"), "yaxis": {"title": {"text": "accuracy"}}},
    )


def _knn(table: pd.DataFrame) -> list[Trace]:
    test: list[Trace] = []
    validation: list[Trace] = []
    rings: list[Trace] = []
    for model, color in MODEL_COLORS.items():
        test.append(_line(table, "k", model, color=color, markers=True))
        name = f"{model}, validation"
        dashes = _line(table, "k", f"{model}_val", name=name, color=color, dash="dash")
        validation.append(dashes | {"showlegend": False})
        ring = _line(table, "k", f"{model}_chosen", name=f"{model}, chosen k", color=color)
        rings.append(ring | _ring(color) | {"showlegend": False, "hoverinfo": "skip"})
    # The legend explains dashes and rings once, in grey, since they mean the same for both models.
    nothing: Trace = {"type": "scatter", "x": [None], "y": [None], "hoverinfo": "skip"}
    dash = {"color": FAINT, "dash": "dash", "width": 2}
    legend = [
        nothing | {"mode": "lines", "line": dash, "name": "validation"},
        nothing | _ring(FAINT) | {"name": "k chosen on validation"},
    ]
    return [*test, *validation, *rings, *legend]


def _ring(color: str) -> Trace:
    marker = {"symbol": "circle-open", "size": 14, "line": {"width": 2}, "color": color}
    return {"mode": "markers", "marker": marker}


def _recall_at_k(table: pd.DataFrame) -> Graph:
    traces = [_line(table, "k", model, color=MODEL_COLORS[model], markers=True) for model in MODELS]
    layout = {**_k_axis(table["k"]), "yaxis": {"title": {"text": "share of queries"}}}
    heading = "Recall@k: queries with a relevant image in the top k"
    return Graph("recall_at_k", heading, [View("", traces)], layout)


def _similarities(table: pd.DataFrame, model: str) -> Graph:
    columns = [f"{model}_negative", f"{model}_positive"]
    rows = table[["similarity", *columns]].dropna()
    seen = rows[(rows[columns] > 1e-3).any(axis=1)]["similarity"]
    own = MODEL_COLORS[model]
    traces = [
        _line(rows, "similarity", column, name=label, color=line, dash=dash)
        | {"fill": "tozeroy", "fillcolor": f"{fill}66"}
        for column, label, line, fill, dash in (
            (columns[0], "not relevant", FAINT, OTHER, "dash"),
            (columns[1], "relevant", own, own, "solid"),
        )
    ]
    axis: dict[str, Any] = {"title": {"text": "similarity"}}
    if len(seen):
        axis["range"] = [float(seen.min()) - 0.02, float(seen.max()) + 0.02]
    layout = {"xaxis": axis, "yaxis": {"title": {"text": "density"}, "rangemode": "tozero"}}
    heading = f"Similarity of gallery images to the query, {model}"
    return Graph(f"similarities_{model}", heading, [View("", traces)], layout)


def _line(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    color: str,
    name: str | None = None,
    dash: str = "solid",
    markers: bool = False,
) -> Trace:
    known = table[[x, y]].dropna()
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers and len(known) < MOST_MARKERS else "lines",
        "name": name or y,
        "x": known[x].tolist(),
        "y": [round(value, 6) for value in known[y]],
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"size": 6},
    }


def _shares(title: str = "share") -> dict[str, Any]:
    return {"yaxis": {"title": {"text": title}, "range": [-0.02, 1.02]}}


def _k_axis(ks: pd.Series, title: str = "k") -> dict[str, Any]:
    # A log axis, since k is 1, 5, 10, 100; with more than eight values only the round ones are
    # named.
    named = [int(k) for k in ks if len(ks) <= 8 or k in (1, 2, 5, 10, 20, 50, 100)]
    axis = {"type": "log", "tickvals": named, "ticktext": [str(k) for k in named]}
    return {"xaxis": axis | {"title": {"text": title}}}
