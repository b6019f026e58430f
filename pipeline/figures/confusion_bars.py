"""The pairs of classes that are confused most: bars, and an example of each pair."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pipeline.figures.palette import (
    FAINT,
    INK,
    MODEL_COLORS,
    MODELS,
    message_figure,
    new_figure,
    shorten,
)
from pipeline.figures.sheet_tiles import PAPER, ReadImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 15  # pairs
ROW = 0.62  # height of a row, inches
PIXELS = 96  # side of an example
ARROW = "\u200e→"  # after a mark by which it stands left of an Arabic name too


def draw_confusions(
    tables: Mapping[str, pd.DataFrame], class_names: Mapping[int, str], read_image: ReadImage
) -> "Figure":
    """Return the pairs of classes that the trained model confuses most, with bars of both models.

    A bar counts the queries of the first class whose top hit is of the second class. The examples
    are the trained model's.

    tables: model -> CONFUSIONS. class_names: label -> display name.
    """
    trained = MODELS[-1]
    shown = tables[trained][:MOST]
    if shown.empty:
        return message_figure(f"No confusions: no top hit of {trained} is wrong.")
    figure = new_figure(9, ROW * len(shown) + 1.1)
    examples, bars = figure.subplots(1, 2, sharey=True, width_ratios=[1.7, 5])
    _draw_examples(examples, shown, read_image)
    _draw_bars(bars, shown, tables)
    pairs = zip(shown["label"], shown["other"], strict=True)
    labels = [
        f"{shorten(class_names[own], 24)}\n{ARROW} {shorten(class_names[other], 24)}"
        for own, other in pairs
    ]
    examples.set_yticks(range(len(shown)), labels, color=INK, fontsize=8)
    examples.set_ylim(len(shown) - 0.5, -0.5)
    figure.suptitle(_title(tables[trained], len(shown)), x=0.01, ha="left", fontsize=10)
    figure.legend(*bars.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _title(table: pd.DataFrame, shown: int) -> str:
    title = "Confused classes, query → top hit"
    if shown == len(table):
        return title
    # A second line, since the legend stands to the right of the first.
    return f"{title}\nThe {shown} most frequent of {len(table):,} pairs of {MODELS[-1]}"


def _draw_bars(axes: "Axes", shown: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
    for model, offset in zip(MODELS, (-0.18, 0.18), strict=True):
        counts, total = _count_pairs(tables[model], shown), tables[model]["queries"].sum()
        bars = axes.barh(
            np.arange(len(shown)) + offset,
            counts,
            0.34,
            color=MODEL_COLORS[model],
            label=f"{model}, {total:,.0f} in all",
        )
        labels = [f"{each:.0f}" if each.is_integer() else f"{each:.1f}" for each in counts]
        axes.bar_label(bars, labels, padding=3, fontsize=7, color=FAINT)
    axes.tick_params(left=False, labelleft=False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("queries with a wrong top hit")
    axes.locator_params(axis="x", integer=True)
    axes.margins(x=0.06)


def _count_pairs(table: pd.DataFrame, shown: pd.DataFrame) -> list[float]:
    counts = table.set_index(["label", "other"])["queries"]
    pairs = zip(shown["label"], shown["other"], strict=True)
    return [float(counts.get(pair, 0.0)) for pair in pairs]


def _draw_examples(axes: "Axes", shown: pd.DataFrame, read_image: ReadImage) -> None:
    for place, row in enumerate(shown.itertuples()):
        for left, image_id in ((0, row.image_id), (1, row.top_hit)):
            fitted = ImageOps.pad(
                read_image(str(image_id)), (PIXELS, PIXELS), Image.Resampling.LANCZOS, PAPER
            )
            extent = (left + 0.04, left + 0.96, place + 0.46, place - 0.46)
            axes.imshow(np.asarray(fitted), extent=extent, interpolation="antialiased")
    # Images stay square and as high as a row of bars; the axes shrink in width, towards the bars.
    axes.set_aspect("equal", adjustable="box", anchor="E")
    axes.set_xlim(0, 2)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)
