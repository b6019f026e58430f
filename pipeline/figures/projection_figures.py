"""Projections as scatter plots, baseline beside finetuned, colored by class or group.

The points are computed from the embeddings alone; labels only color them and name the centroids.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.figures.centroids import NamedClasses, draw_class_names
from pipeline.figures.palette import (
    CATEGORIES,
    FAINT,
    MARKERS,
    OTHER,
    new_figure,
    save_figure,
    shorten,
)
from pipeline.figures.projections import FEWEST, Layouts, Notes, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

    Legend = list[tuple[str, PathCollection]]

TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}

# Ten hues with two markers; with more categories, readers cannot find a color in the legend.
MOST_CATEGORIES = len(CATEGORIES) * len(MARKERS)

# Inches; eighty names need more room than twenty.
FEW_NAMES_SIZE, MANY_NAMES_SIZE = (11.5, 5.2), (15.0, 7.2)


@dataclass(frozen=True)
class Coloring:
    """The colors of N points.

    keys: the category of each point; None is grey. legend: the categories in the order of their
    colors. caption: explains the colors to the reader.
    """

    keys: Sequence[str | None]
    legend: Sequence[str]
    caption: str


def choose_coloring(classes: Sequence[Collection[str]], groups: Sequence[str | None]) -> Coloring:
    """Return how to color N points, from their classes and groups, with at most 20 categories.

    By class if each point has one class and there are at most 20; otherwise by group if the dataset
    has groups; otherwise by class again. Of more than 20 groups or classes, only the ten with most
    points get a color. A point of several classes gets the color of its rarest class, which says
    most about it.
    """
    count = Counter(name for names in classes for name in set(names))
    single = all(len(set(names)) == 1 for names in classes)
    if any(groups) and not (single and len(count) <= MOST_CATEGORIES):
        keys = [group or "no group" for group in groups]
        return _limit([[key] for key in keys], Counter(keys), "its group", "groups")
    meaning = "its class" if single else "the rarest of its classes in the legend"
    return _limit(classes, count, meaning, "classes")


def write_projections(
    layouts: Layouts, notes: Notes, coloring: Coloring, named: NamedClasses, out: Path
) -> None:
    """Write projection_<method>.png of each method, its two models side by side, into `out`."""
    for method, by_axes in layouts.items():
        count = len(coloring.keys)
        title = f"{TITLES[method]} of {count:,} test images"
        if method != "pca" and count < FEWEST:
            title += " (too few: this is their PCA)"
        panel_notes = {model: notes[model][2] for model in notes} if method == "pca" else {}
        figure = draw_projection(title, by_axes[2], coloring, named, panel_notes)
        save_figure(figure, out / f"projection_{method}.png")


def draw_projection(
    title: str,
    points: Mapping[str, Points],
    coloring: Coloring,
    named: NamedClasses,
    notes: Mapping[str, str],
) -> "Figure":
    """Return a panel for each model, {model: points [N, 2]}, with one legend and a caption.

    notes: {model: text} is added to the panel's title.
    """
    figure = new_figure(
        *(FEW_NAMES_SIZE if len(named.rows) <= MOST_CATEGORIES else MANY_NAMES_SIZE)
    )
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axes, (model, own) in zip(panels, points.items(), strict=True):
        legend = _scatter(axes, own, coloring)
        note = notes.get(model)
        axes.set_title(f"{model}  ({note})" if note else model)
    names = [shorten(name, 32) for name, _ in legend]
    marks = [each for _, each in legend]
    figure.legend(marks, names, loc="outside right upper", markerscale=1.6)
    figure.suptitle(title, x=0.004, ha="left", fontsize=11, fontweight="bold")
    caption = f"{coloring.caption}\n{named.caption}".strip()
    text = figure.supxlabel(caption, x=0.004, ha="left", fontsize=8, color=FAINT)
    unnamed = draw_class_names(figure, dict(zip(panels, points.values(), strict=True)), named)
    if any(unnamed):
        left_out = ", ".join(f"{n} of {model}" for model, n in zip(points, unnamed, strict=True))
        text.set_text(f"{caption} Names left out for lack of room: {left_out}.")
    return figure


def _limit(
    classes: Sequence[Collection[str]], count: Counter[str], meaning: str, plural: str
) -> Coloring:
    caption = f"A point is a test image, its color is {meaning}. The layout does not use labels."
    legend = sorted(count)
    if len(count) > MOST_CATEGORIES:
        legend = sorted(sorted(count, key=lambda key: (-count[key], key))[: len(CATEGORIES)])
        caption += (
            f" Colored: the {len(legend)} of {len(count):,} {plural} with most points; the others "
            "are gray."
        )
    shown = set(legend)
    keys = [
        min((count[name], name) for name in names)[1] if names else None
        for names in (shown.intersection(own) for own in classes)
    ]
    return Coloring(keys, legend, caption)


def _scatter(axes: "Axes", points: Points, coloring: Coloring) -> "Legend":
    """Draw the points; return the entries of the legend.

    Their names are not labels of the marks: matplotlib skips labels that begin with "_".
    """
    legend: Legend = []
    keys = np.array(coloring.keys, dtype=object)
    grey = points[np.array([key is None for key in coloring.keys])]
    if len(grey):
        marks = axes.scatter(grey[:, 0], grey[:, 1], s=7, color=OTHER, lw=0)
        legend.append(("others", marks))
    for number, name in enumerate(coloring.legend):
        own = points[keys == name]
        marks = axes.scatter(
            own[:, 0],
            own[:, 1],
            s=13,
            color=CATEGORIES[number % len(CATEGORIES)],
            marker=MARKERS[number // len(CATEGORIES)],
            alpha=0.8,
            lw=0,
        )
        legend.append((name, marks))
    # Only closeness means something in these layouts: no ticks, and one scale for both axes.
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(True)
    return legend
