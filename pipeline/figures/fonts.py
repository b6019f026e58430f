"""The fonts of all figures: DejaVu Sans, and fonts by packages for what it has no glyphs for."""

import logging
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

MISSING_GLYPH = r"Glyph (\d+) .* missing from font"  # how matplotlib's warning begins
MOST_TOLD = 10  # characters in a warning


def font_path(*, bold: bool = False) -> Path:
    """Return the font file that comes with matplotlib: the same on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def fallback_paths() -> tuple[Path, ...]:
    """Return the font files in which characters that DejaVu Sans lacks are looked up, in order.

    Of Chinese, Japanese and Korean; then of emoji; then of the other scripts, each in its own file.
    """
    import manimgx_fonts
    import noto_cjk_sans_jp_regular

    noto = Path(manimgx_fonts.__path__[0])
    scripts = sorted(noto.glob("NotoSans[A-Z]*.ttf"))  # not NotoSans itself, of Latin letters
    return (Path(str(noto_cjk_sans_jp_regular.FONT_PATH)), *noto.glob("NotoEmoji*.ttf"), *scripts)


@cache
def fallback_families() -> tuple[str, ...]:
    """Return the names by which matplotlib finds the files of `fallback_paths`."""
    from matplotlib.font_manager import FontEntry, fontManager

    # Names of our own: under the fonts' own names a machine may have other versions installed.
    families = {f"lookalike {path.stem}": path for path in fallback_paths()}
    for name, path in families.items():
        for weight in ("normal", "bold"):  # without an entry for bold, matplotlib warns
            fontManager.ttflist.append(FontEntry(fname=str(path), name=name, weight=weight))
    return tuple(families)


@contextmanager
def glyphs_warned_once() -> Iterator[None]:
    """Log in one line, at the end, which characters drawn in this context no font has.

    matplotlib warns of each of them at each place, and draws a box with the name of its script.
    """
    missing: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("always", MISSING_GLYPH)
        show = warnings.showwarning

        def gather(message: Warning | str, *place: Any, **options: Any) -> None:
            if glyph := re.match(MISSING_GLYPH, str(message)):
                missing[chr(int(glyph[1]))] = None
            else:
                show(message, *place, **options)

        warnings.showwarning = gather
        yield
    if missing:
        logger.warning(
            "figures: no font here has %d of the characters, which are drawn as boxes: %s%s",
            len(missing),
            ", ".join(f"{sign} (U+{ord(sign):04X})" for sign in list(missing)[:MOST_TOLD]),
            ", …" if len(missing) > MOST_TOLD else "",
        )


class SheetFont:
    """A font for Pillow's images: any text on one line, `size` pixels high.

    What DejaVu Sans can draw letter by letter is drawn by Pillow, all else by matplotlib, which
    looks glyphs up in several fonts, joins letters, and orders text that runs from right to left.
    Pillow does the latter only with a system library, which not every machine has.
    """

    def __init__(self, size: int, *, bold: bool = False) -> None:
        self._size, self._path = size, font_path(bold=bold)
        self._simple = ImageFont.truetype(self._path, size, layout_engine=ImageFont.Layout.BASIC)

    def getlength(self, text: str) -> float:
        """Return the width of `text` in pixels."""
        if is_simple(text):
            return self._simple.getlength(text)
        return self._shape(text).get_width_height()[0] / 64

    def draw(self, on: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, color: str) -> None:
        """Draw `text` with the upper left corner of its line at `xy`."""
        if is_simple(text):
            on.text(xy, text, color, self._simple)
            return
        font = self._shape(text)
        font.draw_glyphs_to_bitmap(antialiased=True)
        glyphs = np.array(font.get_image())
        baseline = xy[1] + self._simple.getmetrics()[0]
        # The bitmap begins with the first ink, and ends with an empty row.
        left = xy[0] + round(font.get_bitmap_offset()[0] / 64)
        top = baseline - (len(glyphs) - 1 - round(font.get_descent() / 64))
        on.bitmap((left, top), Image.fromarray(glyphs), color)

    def _shape(self, text: str) -> "FT2Font":
        from matplotlib.font_manager import get_font

        font = get_font([self._path, *fallback_paths()])
        font.set_size(self._size, 72)  # points of 1/72 inch at 72 dpi: pixels
        font.set_text(text)
        return font


def is_simple(text: str) -> bool:
    """Return whether DejaVu Sans has all of `text` and no letter changes beside another."""
    return text.isascii() or all(
        sign in _dejavu_signs()
        and unicodedata.bidirectional(sign) not in ("R", "AL")
        and not unicodedata.combining(sign)
        for sign in text
    )


@cache
def _dejavu_signs() -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(font_path()).get_charmap()))
