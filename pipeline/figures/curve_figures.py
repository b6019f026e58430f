"""Curves of both models and the history of training, drawn with matplotlib."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.figures.palette import (
    FAINT,
    MODEL_COLOURS,
    MODELS,
    OTHER,
    message_figure,
    new_figure,
    percent_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the many validation figures, those that a person watches, and how each is drawn.
WATCHED = {
    "val_recall_at_1": ("recall@1", "-"),
    "val_map_at_r": ("mAP@R", "--"),
    "val_map": ("mAP", ":"),
}
CLASS_COLUMNS = 6


def draw_charts(tables: Mapping[str, pd.DataFrame], history: pd.DataFrame) -> dict[str, "Figure"]:
    """Return a figure for each of `wide_curves`' tables and one of training, by file stem."""
    return {
        "training": draw_training(history),
        "precision_recall": draw_precision_recall(tables["precision_recall"]),
        "precision_recall_classes": draw_classes(tables["precision_recall_classes"]),
        "recall_at_k": draw_recall_at_k(tables["recall_at_k"]),
        "similarities": draw_similarities(tables["similarities"]),
    }


def draw_training(history: pd.DataFrame) -> "Figure":
    """Return the training loss beside the watched validation figures, over the epochs."""
    watched = [name for name in WATCHED if name in history]
    if history.empty or "loss" not in history:
        return message_figure("No epoch was trained: nothing to draw.")
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    marker = "o" if len(history) < 30 else ""
    colour = MODEL_COLOURS["finetuned"]
    left.plot(history["epoch"], history["loss"], color=colour, marker=marker, ms=3.5)
    left.set(title="Training loss", xlabel="epoch")
    for name in watched:
        label, line = WATCHED[name]
        values = history[name]
        right.plot(history["epoch"], values, line, color=colour, marker=marker, ms=3.5, label=label)
    right.set(title="Validation", xlabel="epoch")
    if watched:
        right.legend(loc="best")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def draw_precision_recall(table: pd.DataFrame) -> "Figure":
    """Return the interpolated precision over recall, mean of all queries, one line a model."""
    figure = new_figure(5.2, 4.2)
    axes = figure.subplots()
    _draw_models(axes, table, x="recall")
    percent_axis(axes)
    percent_axis(axes, horizontal=True)
    axes.set(title="Precision over recall, all queries", xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left")
    return figure


def draw_classes(table: pd.DataFrame) -> "Figure":
    """Return one small precision-recall panel a class.

    The class where the trained model is weakest comes first: it is what one looks for.
    """
    if table.empty:
        return message_figure("No curves by class: drawn for at most 50 classes.")
    order = list(table.groupby("class", sort=True)[MODELS[-1]].mean().sort_values().index)
    columns = min(CLASS_COLUMNS, len(order))
    rows = math.ceil(len(order) / columns)
    figure = new_figure(max(1.75 * columns, 4.5), 1.6 * rows + 0.8)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    by_class = dict(list(table.groupby("class")))
    for axes, name in zip(grid.flat, order, strict=False):
        _draw_models(axes, by_class[name], x="recall", width=1.3)
        axes.set_title(shorten(str(name), 22), fontsize=8)
        axes.tick_params(labelsize=7)
        percent_axis(axes)
        percent_axis(axes, horizontal=True)
    for axes in list(grid.flat)[len(order) :]:
        axes.set_visible(False)
    for axes in list(grid.flat)[max(0, len(order) - columns) : len(order)]:
        axes.tick_params(labelbottom=True)
    grid[0, 0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def draw_recall_at_k(table: pd.DataFrame) -> "Figure":
    """Return the share of queries with a relevant image in the top k, one line a model."""
    figure = new_figure(5.2, 3.8)
    axes = figure.subplots()
    _draw_models(axes, table, x="k", marker="o")
    least = float(table[list(MODELS)].min().min())
    # The interesting part is near 1; starting at 0 would press good models into one line.
    axes.set_ylim(max(0.0, least - 0.1 * (1 - least) - 0.02), 1.005)
    _name_each_k(axes, list(table["k"]))
    axes.set(title="Recall@k: queries with a relevant image in the top k", xlabel="k")
    axes.set_ylabel("share of queries")
    axes.legend(loc="lower right")
    return figure


def draw_knn(tables: Mapping[str, pd.DataFrame], *, distance: str) -> "Figure":
    """Return the kNN accuracy over k from each model's KNN table, one panel a distance.

    A ring is where validation's choice lands on test. `distance`, the index's, comes first.
    """
    figure = new_figure(9, 3.8)
    names = sorted(set(tables[MODELS[0]]["distance"]), key=lambda name: (name != distance, name))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for model in MODELS:
            rows = tables[model][tables[model]["distance"] == name].sort_values("k")
            colour, best = MODEL_COLOURS[model], rows[rows["chosen"]]
            axes.plot(
                rows["k"], rows["val_accuracy"], "--", color=colour, marker="o", ms=2.5, lw=1.2
            )
            axes.plot(rows["k"], rows["test_accuracy"], color=colour, marker="o", ms=4, label=model)
            axes.plot(best["k"], best["test_accuracy"], "o", color=colour, mfc="none", ms=11)
        _name_each_k(axes, list(rows["k"]))
        used = ", as the index searches" if name == distance else ""
        axes.set(title=f"kNN accuracy by {name} distance{used}", xlabel="k, neighbours that vote")
    panels[0].set_ylabel("share of queries")
    # The signs are explained once, in ink: they mean the same for each model.
    for sign, label in (("-", "test"), ("--", "validation")):
        panels[0].plot([], [], sign, color=FAINT, lw=1.2, label=label)
    panels[0].plot([], [], "o", color=FAINT, mfc="none", ms=9, label="k that validation chooses")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(handles[0]))
    return figure


def draw_similarities(table: pd.DataFrame) -> "Figure":
    """Return, one panel a model, how alike relevant and other images are to a query."""
    figure = new_figure(9, 3.4)
    panels = figure.subplots(1, len(MODELS), sharex=True)
    for axes, model in zip(panels, MODELS, strict=True):
        rows = table[["similarity", f"{model}_positive", f"{model}_negative"]].dropna()
        x = rows["similarity"]
        axes.fill_between(x, rows[f"{model}_negative"], color=OTHER, lw=0)
        axes.plot(x, rows[f"{model}_negative"], color=FAINT, lw=1, ls="--", label="other class")
        axes.fill_between(
            x, rows[f"{model}_positive"], color=MODEL_COLOURS[model], alpha=0.35, lw=0
        )
        axes.plot(x, rows[f"{model}_positive"], color=MODEL_COLOURS[model], label="same class")
        axes.set(title=model, xlabel="similarity")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
    values = table.set_index("similarity")
    seen = values.index[values.gt(1e-3).any(axis=1)]
    if len(seen):
        panels[0].set_xlim(float(seen.min()) - 0.02, float(seen.max()) + 0.02)
    panels[0].set_ylabel("density")
    return figure


def shorten(text: str, most: int) -> str:
    """Return `text`, cut to at most `most` characters, the last an ellipsis where it was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _name_each_k(axes: "Axes", ks: list[int]) -> None:
    # Log spacing, since k is asked as 1, 5, 10, 100; each k is named once, unless too many.
    axes.set_xscale("log")
    axes.set_xticks(ks if len(ks) <= 8 else [k for k in ks if k in (1, 2, 5, 10, 20, 50, 100)])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:.0f}")


def _draw_models(
    axes: "Axes", table: pd.DataFrame, *, x: str, marker: str = "", width: float = 1.8
) -> None:
    for model in MODELS:
        axes.plot(
            table[x],
            table[model],
            color=MODEL_COLOURS[model],
            marker=marker,
            ms=4,
            lw=width,
            label=model,
        )
