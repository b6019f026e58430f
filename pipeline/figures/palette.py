"""How all figures look: colors, font, style, and how a figure is saved as the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.files import written_whole
from pipeline.figures.fonts import fallback_families, glyphs_warned_once

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In every figure the model before training is grey and the trained one is blue.
MODELS = ("baseline", "finetuned")
MODEL_COLORS = {"baseline": "#8a9099", "finetuned": "#1f5fd1"}

INK = "#22262b"
FAINT = "#6b727b"
RULE = "#d9dde2"
OTHER = "#d3d7dc"
# They differ in lightness as well as hue, so that color-blind readers can tell them apart; each
# frame also has its own sign.
RELEVANT = "#1a8f3c"
WRONG = "#d12f2f"

# Ten hues that are easy to tell apart on white; none is the grey of OTHER. Twenty categories use
# each hue with two markers: nobody can tell twenty hues apart.
CATEGORIES = (
    "#1f5fd1",
    "#e8710a",
    "#1a8f3c",
    "#c2185b",
    "#7b3fb5",
    "#00a3a8",
    "#8a5a2b",
    "#e0a800",
    "#d12f2f",
    "#6f9a1d",
)
MARKERS = ("o", "^")

STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a class may be called $x$
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.dpi": 120,
    "savefig.dpi": 120,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save in this context: STYLE over matplotlib's defaults, whatever the user's rc."""
    import matplotlib

    families = {"font.family": ["DejaVu Sans", *fallback_families()]}
    with matplotlib.rc_context(), glyphs_warned_once():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | families)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of `width` by `height` inches with a constrained layout."""
    # Not by pyplot: it has global state, looks for a display, and takes twice as long to import.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def message_figure(text: str) -> "Figure":
    """Return a small figure that holds only `text`, for when there is nothing to draw."""
    figure = new_figure(6, 1.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, wrap=True)
    return figure


def shorten(text: str, most: int) -> str:
    """Return `text`, cut to at most `most` characters; an ellipsis shows that it was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def save_figure(figure: "Figure", path: Path) -> None:
    """Write `figure` as PNG without date and version, so that equal figures are equal bytes."""
    with written_whole(path) as (unfinished,):
        figure.savefig(unfinished, format="png", metadata={"Software": None})
