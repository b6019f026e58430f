"""The centroids of the classes, marked and named on a projection."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.arrays import Floats, Ints, Mask
from pipeline.figures.palette import FAINT, INK, shorten
from pipeline.figures.projections import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

MOST_NAMES = 80
FEWEST_POINTS = 3  # of a named class; the mean of fewer says nothing new
LONGEST_NAME = 18
FONT_SIZE = 6.5
# Where a name may stand around its centroid: distances in pixels, and the number of angles.
RADII = (3, 8, 16, 26, 38, 52, 68, 86, 106)
ANGLES = 16
GAP = 1.5  # pixels between two names
MARK = 3.0  # pixels from a centroid to the edge of its mark


@dataclass(frozen=True)
class NamedClasses:
    """The classes that a projection names, and their points.

    rows: name -> the rows of its points, int64 [n]; the class with most points first. A point of
    several classes counts for each. caption: explains the names to the reader; empty if there are
    none.
    """

    rows: Mapping[str, Ints]
    caption: str


def choose_named_classes(classes: Sequence[Iterable[str]]) -> NamedClasses:
    """Return the at most MOST_NAMES classes with most points, from the class names of N points."""
    count = Counter(name for names in classes for name in set(names))
    large = [name for name, points in count.items() if points >= FEWEST_POINTS]
    named = sorted(large, key=lambda name: (-count[name], name))[:MOST_NAMES]
    rows: dict[str, list[int]] = {name: [] for name in named}
    for row, names in enumerate(classes):
        for name in set(names) & rows.keys():
            rows[name].append(row)
    which = "the classes"
    if len(named) < len(count):
        which = f"the {len(named)} of {len(count):,} classes with most points"
    caption = f"Black dots with names are the centroids (means) of {which}." if named else ""
    return NamedClasses({name: np.array(own_rows) for name, own_rows in rows.items()}, caption)


def centroids(points: Points, named: NamedClasses) -> Points:
    """Return the mean of the points of each named class, [C, 2], for points [N, 2]."""
    means = [points[rows].mean(axis=0, dtype=np.float64) for rows in named.rows.values()]
    return np.array(means, dtype=np.float32).reshape(-1, 2)


def draw_class_names(
    figure: "Figure", panels: Mapping["Axes", Points], named: NamedClasses
) -> list[int]:
    """Mark and name the centroids of the points [N, 2] of each panel.

    The class with most points is placed first. Each name stands as close to its centroid as it can
    without covering an earlier name; a name without room is left out. Returns, for each panel, how
    many were left out.
    """
    if not named.rows:
        return [0] * len(panels)
    texts = {axes: _write(axes, centroids(points, named), named) for axes, points in panels.items()}
    # The pixels of a centroid are known only after layout, which must not change any more.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in texts:
        # The equal scale is fitted to this box; fitting it again would shift all by a pixel.
        axes.set(aspect="auto", xlim=axes.get_xlim(), ylim=axes.get_ylim())
    return [_place(axes, written) for axes, written in texts.items()]


def place_boxes(anchors: Floats, sizes: Floats, frame: Floats) -> list[tuple[float, float] | None]:
    """Return the middle of each box: near its anchor, without overlap; None if there is no room.

    Boxes are placed in their order. Places that cover no anchor are preferred.

    anchors: [N, 2], pixels. sizes: [N, 2], width and height. frame: [4], left, bottom,
    right, top, which no box may leave.
    """
    marks = np.hstack([anchors - MARK, anchors + MARK])
    placed = np.empty((0, 4))
    middles: list[tuple[float, float] | None] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        candidates = anchor + _offsets(size)  # (K, 2)
        boxes = np.hstack([candidates - size / 2, candidates + size / 2])
        inside = (boxes[:, :2] >= frame[:2]).all(axis=1) & (boxes[:, 2:] <= frame[2:]).all(axis=1)
        free = inside & ~_overlaps(boxes, placed)
        clear = free & ~_overlaps(boxes, marks)
        if not free.any():
            middles.append(None)
            continue
        best = int(np.argmax(clear if clear.any() else free))
        placed = np.vstack([placed, boxes[best] + [-GAP, -GAP, GAP, GAP]])
        middles.append((float(candidates[best, 0]), float(candidates[best, 1])))
    return middles


def _offsets(size: Floats) -> Floats:
    """Return the offsets from an anchor to the middle of its box, [K, 2], the closest first."""
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    angles = angles[np.argsort(np.abs(np.sin(angles)), kind="stable")]
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (A, 2)
    radii = MARK + np.array(RADII)[:, None, None]
    # The box touches the circle from outside.
    offsets: Floats = (directions * radii + np.sign(np.round(directions, 9)) * size / 2).reshape(
        -1, 2
    )
    return offsets


def _overlaps(boxes: Floats, others: Floats) -> Mask:
    """Return bool [N]: whether each of N boxes overlaps any of the others.

    boxes: [N, 4], left, bottom, right, top in pixels.
    """
    one, other = boxes[:, None], others[None]
    apart = (one[..., :2] >= other[..., 2:]) | (one[..., 2:] <= other[..., :2])
    overlapping: Mask = np.any(~np.any(apart, axis=2), axis=1)
    return overlapping


def _write(axes: "Axes", places: Points, named: NamedClasses) -> list["Annotation"]:
    from matplotlib.patheffects import withStroke

    texts = []
    for name, (x, y) in zip(named.rows, places.tolist(), strict=True):
        text = axes.annotate(
            shorten(name, LONGEST_NAME),
            (x, y),
            xytext=(0, 0),
            textcoords="offset pixels",
            fontsize=FONT_SIZE,
            color=INK,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
            zorder=5,
        )
        text.set_in_layout(False)
        texts.append(text)
    return texts


def _place(axes: "Axes", texts: list["Annotation"]) -> int:
    """Move each text to its place, with a line to its centroid; return how many had no room."""
    anchors = axes.transData.transform([text.xy for text in texts])
    extents = [text.get_window_extent() for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents])
    middles = place_boxes(anchors, sizes, np.array(axes.bbox.extents))
    for text, anchor, size, middle in zip(texts, anchors, sizes, middles, strict=True):
        if middle is None:
            text.remove()
            continue
        text.set_position((middle[0] - anchor[0], middle[1] - anchor[1]))
        # To the edge of the name, not through it.
        edge = np.clip(anchor, middle - size / 2, middle + size / 2)
        ends = axes.transData.inverted().transform([anchor, edge])
        axes.plot(*ends.T, color=FAINT, lw=0.5, alpha=0.8, zorder=3, scalex=False, scaley=False)
        axes.plot(*ends[0], "o", ms=3.2, color=INK, mec="white", mew=0.5, zorder=4)
    return middles.count(None)
