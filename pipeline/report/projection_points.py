"""The projections for the page: the image of each point, and its place in every layout."""

from typing import Any

import numpy as np

from pipeline.figures.palette import CATEGORIES, OTHER
from pipeline.figures.projection_figures import Coloring
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.figures.projections import Layouts, Notes, Points

DECIMALS = 4  # of coordinates from -1 to 1; less than a tenth of a pixel on a large screen


def describe_points(
    sample: ProjectionSample,
    layouts: Layouts,
    coloring: Coloring,
    notes: Notes,
) -> dict[str, Any]:
    """Return the points as plain values, for the page's script.

    Coordinates are centered and scaled to -1..1, with one scale for all axes.

    notes: {model: {axes: text}} of PCA.
    """
    key_of_name = {name: key for key, name in enumerate(coloring.legend)}
    return {
        "ids": list(sample.image_ids),
        "classes": [", ".join(names) for names in sample.classes],
        "groups": [group or "" for group in sample.groups],
        # -1: no category, drawn in grey.
        "keys": [-1 if name is None else key_of_name[name] for name in coloring.keys],
        "legend": list(coloring.legend),
        "colors": list(CATEGORIES),
        "other": OTHER,
        "caption": coloring.caption,
        "notes": {
            model: {str(axes): text for axes, text in by_axes.items()}
            for model, by_axes in notes.items()
        },
        "layouts": {
            method: {
                str(axes): {model: _columns(points) for model, points in by_model.items()}
                for axes, by_model in by_axes.items()
            }
            for method, by_axes in layouts.items()
        },
    }


def _columns(points: Points) -> list[list[float]]:
    """Return the coordinates, one list for each axis."""
    centered = points.astype(np.float64) - (points.max(axis=0) + points.min(axis=0)) / 2
    largest = float(np.abs(centered).max())
    scaled = np.round(centered / (largest or 1.0), DECIMALS) + 0.0  # no -0.0
    columns: list[list[float]] = scaled.T.tolist()
    return columns
