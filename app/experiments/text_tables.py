"""Tables of results as text, for the terminal."""

from collections.abc import Sequence
from typing import Any

from pipeline.config.dotted_keys import show_value


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return a line for each row; a column is as wide as its widest cell.

    >>> print(align_columns([["metric", "A"], ["map", "0.3"]]))
    metric    A
       map  0.3
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def format_metric(value: float | None) -> str:
    """Return a metric's value with three decimals; "-" for none."""
    return "-" if value is None else f"{value:.3f}"


def format_short(value: Any) -> str:
    """Return a value as in params.yaml, but a float with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else show_value(value)
