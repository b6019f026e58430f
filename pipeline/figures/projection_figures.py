"""Projections drawn as scatter plots, baseline beside finetuned, by class or group.

The points come from the embeddings alone; labels only colour them and name the centroids.
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
from pipeline.figures.projections import Layouts, Notes, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}

# With a second marker, ten hues make twenty categories; past that one cannot find a colour again.
MOST_CATEGORIES = len(CATEGORIES) * len(MARKERS)

# Inches: eighty names need more room than a legend of twenty.
FEW_NAMES_SIZE, MANY_NAMES_SIZE = (11.5, 5.2), (15.0, 7.2)


@dataclass(frozen=True)
class Colouring:
    """What each of N points is coloured by.

    keys: the category of each point, None where it is left grey. legend: the categories in the
    order of their colours. caption: what the colours mean, for a reader.
    """

    keys: Sequence[str | None]
    legend: Sequence[str]
    caption: str


def choose_colouring(classes: Sequence[Collection[str]], groups: Sequence[str | None]) -> Colouring:
    """Return how to colour N points of the given classes and group, with at most 20 categories.

    By class where each point has one and there are at most 20; else by group where the dataset
    has groups; else by class again. Of more than 20 groups or classes, only the ten with most
    points. A point of several classes takes the rarest of those that have a colour: it says most.
    """
    count = Counter(name for names in classes for name in set(names))
    single = all(len(set(names)) == 1 for names in classes)
    if any(groups) and not (single and len(count) <= MOST_CATEGORIES):
        keys = [group or "no group" for group in groups]
        return _limit([[key] for key in keys], Counter(keys), "the group", "groups")
    told = "the class" if single else "the rarest of its classes in the legend"
    return _limit(classes, count, told, "classes")


def write_projections(
    layouts: Layouts, notes: Notes, colouring: Colouring, naming: NamedClasses, out: Path
) -> None:
    """Write projection_<method>.png of each method, its two models side by side, into `out`."""
    for method, by_axes in layouts.items():
        title = f"{TITLES[method]} of {len(colouring.keys)} test images"
        panel_notes = {model: notes[model][2] for model in notes} if method == "pca" else {}
        figure = draw_projection(title, by_axes[2], colouring, naming, panel_notes)
        save_figure(figure, out / f"projection_{method}.png")


def draw_projection(
    title: str,
    points: Mapping[str, Points],
    colouring: Colouring,
    naming: NamedClasses,
    notes: Mapping[str, str],
) -> "Figure":
    """Return one panel a model, {model: points [N, 2]}, with one legend and a caption.

    notes: {model: text} is added to the panel's title.
    """
    figure = new_figure(
        *(FEW_NAMES_SIZE if len(naming.rows) <= MOST_CATEGORIES else MANY_NAMES_SIZE)
    )
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axes, (model, places) in zip(panels, points.items(), strict=True):
        _scatter(axes, places, colouring)
        note = notes.get(model)
        axes.set_title(f"{model}  ({note})" if note else model)
    handles, names = panels[0].get_legend_handles_labels()
    names = [shorten(name, 32) for name in names]
    figure.legend(handles, names, loc="outside right upper", markerscale=1.6)
    figure.suptitle(title, x=0.004, ha="left", fontsize=11, fontweight="bold")
    caption = f"{colouring.caption}\n{naming.caption}".strip()
    told = figure.supxlabel(caption, x=0.004, ha="left", fontsize=8, color=FAINT)
    unnamed = draw_class_names(figure, dict(zip(panels, points.values(), strict=True)), naming)
    if any(unnamed):
        left_out = ", ".join(f"{n} of {model}" for model, n in zip(points, unnamed, strict=True))
        told.set_text(f"{caption} Without room, so not drawn: {left_out}.")
    return figure


def _limit(
    classes: Sequence[Collection[str]], count: Counter[str], which: str, many: str
) -> Colouring:
    told = f"A point is a test image, its colour {which}; the layout saw no labels."
    legend = sorted(count)
    if len(count) > MOST_CATEGORIES:
        legend = sorted(sorted(count, key=lambda key: (-count[key], key))[: len(CATEGORIES)])
        told = (
            f"{told} In colour: the {len(legend)} of {len(count)} {many} with most points; "
            "the others are grey."
        )
    shown = set(legend)
    keys = [
        min((count[name], name) for name in names)[1] if names else None
        for names in (shown.intersection(own) for own in classes)
    ]
    return Colouring(keys, legend, told)


def _scatter(axes: "Axes", points: Points, colouring: Colouring) -> None:
    keys = np.array(colouring.keys, dtype=object)
    bare = np.array([key is None for key in colouring.keys])
    grey = points[bare]
    if len(grey):
        axes.scatter(grey[:, 0], grey[:, 1], s=7, color=OTHER, lw=0, label="others")
    for place, name in enumerate(colouring.legend):
        chosen = points[keys == name]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=13,
            color=CATEGORIES[place % len(CATEGORIES)],
            marker=MARKERS[place // len(CATEGORIES)],
            alpha=0.8,
            lw=0,
            label=name,
        )
    # Only nearness means something in these layouts, so no ticks, and one scale for both axes.
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(True)
