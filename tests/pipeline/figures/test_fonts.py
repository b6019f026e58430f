"""Text of any script is drawn as it is, and what no font has is told once."""

import io
import logging
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.figures.fonts import SheetFont, fallback_paths, glyphs_warned_once, is_simple
from pipeline.figures.palette import figure_style, new_figure

SCRIPTS = {
    "Chinese": "简体中文 漢字",
    "Japanese": "日本語のクラス",
    "Korean": "한국어 고양이",
    "Arabic": "قطة",
    "Hebrew": "חתול",
    "Hindi": "बिल्ली",
    "Thai": "แมว",
    "emoji": "cat 🐱 ❤️ 👩‍💻 🇩🇪 👍🏽",
    "accents apart": "e\u0301",
}
# matplotlib's mathtext would refuse some, and draw others as formulas.
SIGNS = ("$\\frac$", "$x^2$", "a_b ^ {c} \\alpha", "<b>", "100%", "${x}", "_")
NO_FONT = "\U00013000\U00013001"  # Egyptian hieroglyphs


def draw_figure(text: str) -> np.ndarray:
    """Return the pixels of a figure with `text` as a text, a tick and in a legend."""
    with figure_style():
        figure = new_figure(3, 1)
        axes = figure.subplots()
        bars = axes.barh([0], [1])
        axes.set_yticks([0], [text])
        axes.set_title(text, fontweight="bold")
        figure.legend(bars, [text])
        figure.savefig(file := io.BytesIO())
    return np.asarray(Image.open(file).convert("L"))


def draw_sheet(text: str, *, bold: bool = False) -> np.ndarray:
    sheet = Image.new("L", (300, 40), 255)
    SheetFont(15, bold=bold).draw(ImageDraw.Draw(sheet), (10, 10), text, "#000000")
    return np.asarray(sheet)


@pytest.mark.parametrize("text", [*SCRIPTS.values(), *SIGNS])
def test_any_text_is_drawn_without_a_warning(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (draw_figure(text) < 99).any()
        assert (draw_sheet(text) < 99).any()
        assert (draw_sheet(text, bold=True) < 99).any()
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["a b", "$\\frac$", *SCRIPTS.values()])
def test_the_width_of_a_text_is_that_of_its_drawing(text: str) -> None:
    columns = np.flatnonzero((draw_sheet(text) < 250).any(axis=0))
    drawn = columns[-1] + 1 - 10
    assert abs(SheetFont(15).getlength(text) - drawn) <= 2


def test_a_sheet_shows_all_text_on_one_baseline() -> None:
    """A Latin letter keeps its place beside letters that another font draws."""
    alone, beside = (draw_sheet(text)[:, 10:20] for text in ("H", "H 猫"))
    assert is_simple("H")
    assert not is_simple("H 猫")
    rows = [np.flatnonzero((pixels < 128).any(axis=1)) for pixels in (alone, beside)]
    assert abs(rows[0][0] - rows[1][0]) <= 1
    assert abs(rows[0][-1] - rows[1][-1]) <= 1


@pytest.mark.parametrize("text", ["قطة", "חתול"])
def test_letters_from_right_to_left_are_not_drawn_one_by_one(text: str) -> None:
    assert not is_simple(text)
    assert not np.array_equal(draw_sheet(text), draw_sheet(text[::-1]))


def test_a_dollar_sign_is_a_letter_not_the_start_of_a_formula() -> None:
    assert not np.array_equal(draw_figure("$x$"), draw_figure("x"))


def test_what_no_font_has_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        draw_figure(NO_FONT)
    assert caplog.messages == [
        "figures: no font here has 2 of the characters, which are drawn as boxes: "
        "\U00013000 (U+13000), \U00013001 (U+13001)"
    ]
    caplog.clear()
    with glyphs_warned_once():
        for sign in range(12):
            draw_sheet(chr(0x13000 + sign))
            draw_sheet(chr(0x13000 + sign), bold=True)
    [message] = caplog.messages
    assert message.startswith("figures: no font here has 12 of the characters, ")
    assert message.endswith("(U+13009), …")


def test_other_warnings_pass() -> None:
    with pytest.warns(UserWarning, match="something else"), glyphs_warned_once():
        warnings.warn("something else", UserWarning, stacklevel=1)


def test_the_fonts_are_those_of_packages() -> None:
    names = [path.name for path in fallback_paths()]
    assert names[:2] == ["NotoSansCJKjp-Regular.otf", "NotoEmoji[wght].ttf"]
    assert "NotoSansThai[wght].ttf" in names
    assert len(names) == len(set(names)) > 15
