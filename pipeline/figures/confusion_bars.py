"""The pairs of classes that are confused most, as bars beside an example of each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pipeline.figures.palette import (
    FAINT,
    INK,
    MODEL_COLOURS,
    MODELS,
    message_figure,
    new_figure,
    shorten,
)
from pipeline.figures.sheet_tiles import PAPER, ReadImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 15
ROW = 0.62  # inches
PIXELS = 96  # of an example, more than its half inch shows


def draw_confusions(
    tables: Mapping[str, pd.DataFrame], names: Mapping[int, str], image: ReadImage
) -> "Figure":
    """Return the pairs of classes that the trained model confuses most, both models side by side.

    The bars count queries of the left class whose top hit is of the right one; the examples are
    the trained model's.

    tables: model -> CONFUSIONS. names: label -> class name.
    """
    trained = MODELS[-1]
    shown = tables[trained][:MOST]
    if shown.empty:
        return message_figure(f"No confusions: the first image of {trained} is never wrong.")
    figure = new_figure(9, ROW * len(shown) + 1.1)
    examples, bars = figure.subplots(1, 2, sharey=True, width_ratios=[1.7, 5])
    _draw_examples(examples, shown, image)
    _draw_bars(bars, shown, tables)
    pairs = zip(shown["label"], shown["other"], strict=True)
    labels = [f"{shorten(names[own], 24)}\n→ {shorten(names[other], 24)}" for own, other in pairs]
    examples.set_yticks(range(len(shown)), labels, color=INK, fontsize=8)
    examples.set_ylim(len(shown) - 0.5, -0.5)
    figure.suptitle(_title(tables[trained], len(shown)), x=0.01, ha="left", fontsize=10)
    figure.legend(*bars.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _title(table: pd.DataFrame, shown: int) -> str:
    title = "Confused classes, query → top hit"
    if shown == len(table):
        return title
    return f"{title}: the {shown} most frequent of {MODELS[-1]}'s {len(table)}"


def _draw_bars(axes: "Axes", shown: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
    for model, offset in zip(MODELS, (-0.18, 0.18), strict=True):
        counts, wrong = _count_pairs(tables[model], shown), tables[model]["queries"].sum()
        bars = axes.barh(
            np.arange(len(shown)) + offset,
            counts,
            0.34,
            color=MODEL_COLOURS[model],
            label=f"{model}, {wrong:.0f} in all",
        )
        written = [f"{each:.0f}" if each.is_integer() else f"{each:.1f}" for each in counts]
        axes.bar_label(bars, written, padding=3, fontsize=7, color=FAINT)
    axes.tick_params(left=False, labelleft=False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("queries with a wrong top hit")
    axes.locator_params(axis="x", integer=True)
    axes.margins(x=0.06)


def _count_pairs(table: pd.DataFrame, shown: pd.DataFrame) -> list[float]:
    counts = table.set_index(["label", "other"])["queries"]
    wanted = zip(shown["label"], shown["other"], strict=True)
    return [float(counts.get(pair, 0.0)) for pair in wanted]


def _draw_examples(axes: "Axes", shown: pd.DataFrame, image: ReadImage) -> None:
    for place, row in enumerate(shown.itertuples()):
        for left, image_id in ((0, row.image_id), (1, row.top_hit)):
            fitted = ImageOps.pad(
                image(str(image_id)), (PIXELS, PIXELS), Image.Resampling.LANCZOS, PAPER
            )
            extent = (left + 0.04, left + 0.96, place + 0.46, place - 0.46)
            axes.imshow(np.asarray(fitted), extent=extent, interpolation="antialiased")
    # Square images, as high as the bars' rows: so the box gives way in width, towards the bars.
    axes.set_aspect("equal", adjustable="box", anchor="E")
    axes.set_xlim(0, 2)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)
