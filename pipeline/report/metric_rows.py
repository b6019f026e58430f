"""metrics/*.json as the rows of tables: every figure as it stands there, none computed anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.figures.palette import MODELS

Metrics = Mapping[str, float]

TRAINING = "train"
ENDINGS = ("_low", "_high")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval, or None where the model's file lacks it.

    All are shares or similarities, so a drawing of them runs from 0 to 1.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricRow:
    """One metric of both models. `baseline` and `finetuned` are None where the file lacks it."""

    name: str
    baseline: Estimate | None
    finetuned: Estimate | None

    @property
    def difference(self) -> float | None:
        """finetuned - baseline, where there are both."""
        if self.baseline is None or self.finetuned is None:
            return None
        return self.finetuned.value - self.baseline.value

    @property
    def verdict(self) -> str:
        """`overlap` where the intervals do, or a model has none; else `better` or `worse`.

        Of a metric for which neither more nor less is good, `apart`.
        """
        one, other = self.baseline, self.finetuned
        if one is None or other is None or (one.low <= other.high and other.low <= one.high):
            return "overlap"
        if not higher_is_better(self.name):
            return "apart"
        return "better" if other.value > one.value else "worse"


def read_metrics(directory: Path) -> dict[str, Metrics]:
    """Return {file stem: figures by name} of both models and of the training.

    Raises:
        UserError: a file is missing or is not a JSON object of numbers.
    """
    return {stem: _read(directory / f"{stem}.json") for stem in (*MODELS, TRAINING)}


def estimate_rows(figures: Mapping[str, Metrics]) -> list[MetricRow]:
    """Return a row for each metric with an interval, in the order of the trained model's file."""
    return [
        MetricRow(name, *(_estimate(figures[model], name) for model in MODELS))
        for name in _names(figures)
        if any(_has_interval(figures[model], name) for model in MODELS)
    ]


def plain_rows(figures: Mapping[str, Metrics]) -> list[tuple[str, list[float | None]]]:
    """Return (name, the value of each model) of what has no interval: counts and choices."""
    return [
        (name, [figures[model].get(name) for model in MODELS])
        for name in _names(figures)
        if not any(_has_interval(figures[model], name) for model in MODELS)
    ]


def format_value(value: float | None) -> str:
    """Return a figure as it is printed everywhere: counts whole, the others with three digits.

    >>> show(0.5475), show(60502), show(0.000134), show(None)
    ('0.547', '60,502', '0.000134', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def format_difference(value: float | None) -> str:
    """Return a difference with its sign.

    >>> show_difference(0.3125), show_difference(-0.25), show_difference(0.0), show_difference(None)
    ('+0.312', '−0.250', '0.000', '–')
    """
    if value is None:
        return "–"
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "0.000"


def _read(path: Path) -> Metrics:
    try:
        figures = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run: dvc repro") from None
    numbers = isinstance(figures, dict) and all(
        isinstance(value, int | float) for value in figures.values()
    )
    if not numbers:
        raise UserError(f"{path}: found no mapping of names to numbers; run: dvc repro")
    return figures  # type: ignore[no-any-return]


def _names(figures: Mapping[str, Metrics]) -> list[str]:
    known = dict.fromkeys(name for model in reversed(MODELS) for name in figures[model])
    return [name for name in known if not _is_bound(name, known)]


def _is_bound(name: str, known: Mapping[str, None]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in known for end in ENDINGS)


def _has_interval(figures: Metrics, name: str) -> bool:
    return all(f"{name}{end}" in figures for end in ENDINGS)


def _estimate(figures: Metrics, name: str) -> Estimate | None:
    if name not in figures or not _has_interval(figures, name):
        return None
    return Estimate(figures[name], figures[f"{name}_low"], figures[f"{name}_high"])
