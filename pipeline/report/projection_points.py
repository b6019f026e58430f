"""The projections for the page: what each point is, and where it lies in every layout."""

from typing import Any

import numpy as np

from pipeline.figures.palette import CATEGORIES, OTHER
from pipeline.figures.projection_figures import Colouring
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.figures.projections import Layouts, Notes, Points

DECIMALS = 4  # of coordinates from -1 to 1: a tenth of a pixel on a large screen


def describe_points(
    sample: ProjectionSample,
    layouts: Layouts,
    colouring: Colouring,
    notes: Notes,
) -> dict[str, Any]:
    """Return what the page's script draws, as plain values.

    notes: {model: {axes: text}} of the PCA. Coordinates are centred and scaled to
    -1..1, all axes alike.
    """
    place = {name: number for number, name in enumerate(colouring.legend)}
    return {
        "ids": list(sample.image_ids),
        "classes": [", ".join(names) for names in sample.classes],
        "groups": [group or "" for group in sample.groups],
        # -1: no category, drawn in grey.
        "keys": [-1 if key is None else place[key] for key in colouring.keys],
        "legend": list(colouring.legend),
        "colours": list(CATEGORIES),
        "other": OTHER,
        "caption": colouring.caption,
        "notes": {
            model: {str(axes): text for axes, text in told.items()} for model, told in notes.items()
        },
        "layouts": {
            method: {
                str(axes): {model: _columns(points) for model, points in places.items()}
                for axes, places in by_axes.items()
            }
            for method, by_axes in layouts.items()
        },
    }


def _columns(points: Points) -> list[list[float]]:
    """Return one list of coordinates an axis."""
    centred = points.astype(np.float64) - (points.max(axis=0) + points.min(axis=0)) / 2
    largest = float(np.abs(centred).max())
    scaled = np.round(centred / (largest or 1.0), DECIMALS) + 0.0  # no -0.0
    columns: list[list[float]] = scaled.T.tolist()
    return columns
