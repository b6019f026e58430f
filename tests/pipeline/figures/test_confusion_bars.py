"""What the bars of confused classes count, and the example of each pair."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from pipeline.figures.confusion_bars import MOST, draw_confusions
from pipeline.figures.palette import MODEL_COLORS, figure_style, save_figure

NAMES = {label: f"class {label}" for label in range(40)}


def table(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["label", "other", "queries"])
    return found.assign(
        image_id=[f"q{row[0]}" for row in rows], top_hit=[f"h{row[1]}" for row in rows]
    )


def draw(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> Figure:
    with figure_style():
        tables = {"baseline": baseline, "finetuned": finetuned}
        figure = draw_confusions(tables, NAMES, _image)
        figure.savefig(io.BytesIO())  # lays it out
        return figure


def lengths(figure: Figure, model: str) -> list[float]:
    bars = [
        bar for bar in figure.axes[1].patches if to_hex(bar.get_facecolor()) == MODEL_COLORS[model]
    ]
    return [bar.get_width() for bar in sorted(bars, key=lambda bar: bar.get_y())]


def test_each_pair_of_the_trained_model_has_a_bar_of_each_model() -> None:
    figure = draw(
        table([(1, 2, 9.0), (5, 6, 4.0), (3, 4, 2.0)]),
        table([(3, 4, 5.0), (4, 3, 1.5), (1, 2, 1.0)]),
    )
    examples, bars = figure.axes
    assert lengths(figure, "finetuned") == [5.0, 1.5, 1.0]
    assert lengths(figure, "baseline") == [2.0, 0.0, 9.0]
    assert [label.get_text() for label in examples.get_yticklabels()] == [
        "class 3\n\u200e→ class 4",
        "class 4\n\u200e→ class 3",
        "class 1\n\u200e→ class 2",
    ]
    assert {text.get_text() for text in bars.texts} == {"5", "1.5", "1", "2", "0", "9"}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["baseline, 15 in all", "finetuned, 8 in all"]
    assert figure.get_suptitle() == "Confused classes, query → top hit"


def test_the_first_pair_is_on_top_beside_its_own_square_example() -> None:
    figure = draw(table([]), table([(3, 4, 5.0), (4, 3, 2.0)]))
    examples, bars = figure.axes
    assert examples.get_ylim() == bars.get_ylim() == (1.5, -0.5)
    for place, (query, hit) in enumerate([(3, 4), (4, 3)]):
        shown = [
            image for image in examples.images if round(np.mean(image.get_extent()[2:])) == place
        ]
        greys = [int(np.asarray(image.get_array())[0, 0, 0]) for image in shown]
        assert greys == [query, 100 + hit]
        for image in shown:
            box = image.get_window_extent()
            assert box.width == pytest.approx(box.height, rel=0.02)


def test_only_the_most_frequent_pairs_are_shown() -> None:
    rows = [(label, label + 1, 20.0 - label) for label in range(MOST + 3)]
    figure = draw(table([]), table(rows))
    assert len(lengths(figure, "finetuned")) == MOST
    assert figure.get_suptitle() == (
        "Confused classes, query → top hit\nThe 15 most frequent of 18 pairs of finetuned"
    )


def test_without_confusions_the_figure_says_so() -> None:
    figure = draw(table([(1, 2, 3.0)]), table([]))
    [text] = figure.texts
    assert text.get_text() == "No confusions: no top hit of finetuned is wrong."


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    images = []
    for _ in range(2):
        with figure_style():
            tables = {"baseline": table([]), "finetuned": table([(1, 2, 3.0)])}
            save_figure(draw_confusions(tables, NAMES, _image), tmp_path / "bars.png")
        images.append((tmp_path / "bars.png").read_bytes())
    assert images[0] == images[1]


def _image(image_id: str) -> Image.Image:
    """Grey, as dark as its number says; the top hit is lighter by 100."""
    grey = int(image_id[1:]) + 100 * (image_id[0] == "h")
    return Image.new("RGB", (30, 30), (grey, grey, grey))
