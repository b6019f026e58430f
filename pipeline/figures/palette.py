"""The one look of every figure: colours, font, page, and how a figure becomes the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.files import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The model before training is a quiet grey, the trained one a strong blue, in every figure.
MODELS = ("baseline", "finetuned")
MODEL_COLOURS = {"baseline": "#8a9099", "finetuned": "#1f5fd1"}

INK = "#22262b"
FAINT = "#6b727b"
RULE = "#d9dde2"
OTHER = "#d3d7dc"
# Chosen apart in lightness as well as hue, so that a colour-blind reader tells them apart too;
# each frame also carries a sign of its own.
RELEVANT = "#1a8f3c"
WRONG = "#d12f2f"

# Ten hues that stay apart on white, none of them the grey of OTHER. Twenty categories are these
# with a second marker: twenty hues cannot be told apart.
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
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
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
def style() -> Iterator[None]:
    """Draw and save inside this: our look over matplotlib's defaults, whatever the user's rc."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of `width` by `height` inches that lays itself out."""
    # Figure rather than pyplot: no global state, no display, half the import.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def message_figure(text: str) -> "Figure":
    """Return a small figure that says `text`, where there is nothing to draw."""
    figure = new_figure(6, 1.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=FAINT, wrap=True)
    return figure


def shorten(text: str, most: int) -> str:
    """Return `text`, cut to at most `most` characters; an ellipsis shows that it was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def save_figure(figure: "Figure", path: Path) -> None:
    """Write `figure` as PNG: no date and no version inside, so equal figures are equal bytes."""
    with written_whole(path) as (unfinished,):
        figure.savefig(unfinished, format="png", metadata={"Software": None})


def font_path(*, bold: bool = False) -> Path:
    """Return the font file that matplotlib carries, so that Pillow draws the same everywhere."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
