"""Projections drawn as scatter plots, baseline beside finetuned, coloured by class or group."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.plots.charts import shorten
from pipeline.plots.palette import CATEGORIES, FAINT, MARKERS, OTHER, new_figure
from pipeline.plots.projections import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With a second marker, ten hues make twenty categories; past that one cannot find a colour again.
MOST_CATEGORIES = len(CATEGORIES) * len(MARKERS)


@dataclass(frozen=True)
class Colouring:
    """What each of N points is coloured by.

    keys: the category of each point, None where it is left grey. legend: the categories in the
    order of their colours. caption: what the colours mean, for a reader.
    """

    keys: Sequence[str | None]
    legend: Sequence[str]
    caption: str


def choose_colouring(classes: Sequence[str], groups: Sequence[str | None]) -> Colouring:
    """Return how to colour N points of the given class and group, with at most 20 categories.

    By class where there are at most 20; else by group where the dataset has groups; and of more
    than 20 groups or classes, only the ten with most points.
    """
    if len(set(classes)) <= MOST_CATEGORIES or all(group is None for group in groups):
        return _limit(list(classes), "class", "classes")
    return _limit([group or "no group" for group in groups], "group", "groups")


def draw_projection(
    title: str, points: Mapping[str, Points], colouring: Colouring, notes: Mapping[str, str]
) -> "Figure":
    """Return one panel a model, {model: points [N, 2]}, with one legend and a caption.

    notes: {model: text} is added to the panel's title.
    """
    figure = new_figure(11.5, 5.2)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axes, (model, places) in zip(panels, points.items(), strict=True):
        _scatter(axes, places, colouring)
        note = notes.get(model)
        axes.set_title(f"{model}  ({note})" if note else model)
    handles, names = panels[0].get_legend_handles_labels()
    names = [shorten(name, 32) for name in names]
    figure.legend(handles, names, loc="outside right upper", markerscale=1.6)
    figure.suptitle(title, x=0.004, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel(colouring.caption, x=0.004, ha="left", fontsize=8, color=FAINT)
    return figure


def _limit(keys: list[str], one: str, many: str) -> Colouring:
    count = Counter(keys)
    told = f"A point is a test picture, its colour the {one}; the layout saw no labels."
    if len(count) <= MOST_CATEGORIES:
        return Colouring(keys, sorted(count), told)
    largest = sorted(count, key=lambda key: (-count[key], key))[: len(CATEGORIES)]
    kept = [key if key in largest else None for key in keys]
    told = (
        f"{told} In colour: the {len(largest)} of {len(count)} {many} with most points; "
        "the others are grey."
    )
    return Colouring(kept, sorted(largest), told)


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
