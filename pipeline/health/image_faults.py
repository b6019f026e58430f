"""What may be wrong with one image by itself: it is very small, blank or blurred."""

from collections.abc import Callable, Mapping
from typing import Any

# Pixels of the shorter side.
SMALL_SIDE = 32
# Of 255 levels. Scanned or photographed, an image of one color has some; JPEG adds a few.
BLANK_COLOR_RANGE = 10
# Of 2,688 photographs of scenes, the least sharpness is 29; blurred by a Gaussian of 3 of their 256
# pixels, 99% have at most 8.
BLURRED_SHARPNESS = 10.0

Row = Mapping[str, Any]  # of HEALTH and CATALOG together


def is_blank(color_range: int) -> bool:
    """Return whether an image is nearly of one color, so that its hash is noise."""
    return color_range <= BLANK_COLOR_RANGE


def _is_small(row: Row) -> bool:
    return bool(min(row["width"], row["height"]) < SMALL_SIDE)


def _is_blurred(row: Row) -> bool:
    return bool(row["sharpness"] < BLURRED_SHARPNESS) and not is_blank(row["color_range"])


IMAGE_FAULTS: dict[str, Callable[[Row], bool]] = {
    f"very small (a side under {SMALL_SIDE} px)": _is_small,
    "blank (nearly one color)": lambda row: is_blank(row["color_range"]),
    "blurred": _is_blurred,
}
