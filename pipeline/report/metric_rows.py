"""metrics/details/*.json as rows of tables: each value as in the file, nothing is recomputed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.metrics_files import read_metrics_files, read_texts
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.evaluation.intervals_over import INTERVALS_OVER
from pipeline.figures.palette import MODELS

Metrics = Mapping[str, float]

TRAINING = "train"
ENDINGS = ("_low", "_high")
# What the intervals say, by what was resampled.
ANSWERS = {
    "classes": "how much it would differ with other classes",
    "images": "how much it would differ with other images of these classes",
}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval. All are shares or similarities, shown from 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricRow:
    """One metric of both models; None if a model's file lacks it."""

    name: str
    baseline: Estimate | None
    finetuned: Estimate | None

    @property
    def difference(self) -> float | None:
        """finetuned - baseline; None if one of them is missing."""
        if self.baseline is None or self.finetuned is None:
            return None
        return self.finetuned.value - self.baseline.value

    @property
    def intervals(self) -> str:
        """How the interval of finetuned lies to that of baseline: `above`, `below`, or `overlap`.

        `overlap` also if one is missing; `apart` if neither is better retrieval. It is no verdict,
        which takes a test over the same queries (pipeline/comparison/verdict.py).
        """
        one, other = self.baseline, self.finetuned
        if one is None or other is None or (one.low <= other.high and other.low <= one.high):
            return "overlap"
        if not higher_is_better(self.name):
            return "apart"
        return "above" if other.value > one.value else "below"


def read_metrics(directory: Path) -> dict[str, Metrics]:
    """Return {file stem: values by name} of both models and of the training.

    Raises:
        UserError: as `read_metrics_files`.
    """
    return dict(read_metrics_files(directory / f"{stem}.json" for stem in (*MODELS, TRAINING)))


def describe_intervals(directory: Path) -> str | None:
    """Return what the intervals of the trained model's metrics say; None if its file does not tell.

    Raises:
        UserError: as `read_metrics`.
    """
    return ANSWERS.get(read_texts(directory / f"{MODELS[-1]}.json").get(INTERVALS_OVER, ""))


def describe_postprocessing(directory: Path) -> str:
    """Return what was done to the embeddings of each model, as its index says; "" for nothing.

    Raises:
        UserError: as `read_metrics`.
    """
    texts = {model: read_texts(directory / f"{model}.json") for model in MODELS}
    done = {model: each.get("postprocessing") for model, each in texts.items()}
    if not any(done.values()):
        return ""
    return "; ".join(f"{model}: {words or 'nothing'}" for model, words in done.items())


def estimate_rows(metrics: Mapping[str, Metrics]) -> list[MetricRow]:
    """Return a row for each metric with an interval, in the order of the trained model's file."""
    return [
        MetricRow(name, *(_estimate(metrics[model], name) for model in MODELS))
        for name in _names(metrics)
        if any(_has_interval(metrics[model], name) for model in MODELS)
    ]


def plain_rows(metrics: Mapping[str, Metrics]) -> list[tuple[str, list[float | None]]]:
    """Return (name, the value of each model) of counts and choices, which have no interval."""
    return [
        (name, [metrics[model].get(name) for model in MODELS])
        for name in _names(metrics)
        if not any(_has_interval(metrics[model], name) for model in MODELS)
    ]


def format_value(value: float | None) -> str:
    """Return a value as all reports print it: counts whole, others with three digits.

    >>> format_value(0.5475), format_value(60502), format_value(0.000134), format_value(None)
    ('0.547', '60,502', '0.000134', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def format_difference(value: float | None) -> str:
    """Return a difference with its sign.

    >>> [format_difference(value) for value in (0.3125, -0.25, 0.0, None)]
    ['+0.312', '−0.250', '0.000', '–']
    """
    if value is None:
        return "–"
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "0.000"


def _names(metrics: Mapping[str, Metrics]) -> list[str]:
    known = dict.fromkeys(name for model in reversed(MODELS) for name in metrics[model])
    return [name for name in known if not _is_bound(name, known)]


def _is_bound(name: str, known: Mapping[str, None]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in known for end in ENDINGS)


def _has_interval(values: Metrics, name: str) -> bool:
    return all(f"{name}{end}" in values for end in ENDINGS)


def _estimate(values: Metrics, name: str) -> Estimate | None:
    if name not in values or not _has_interval(values, name):
        return None
    return Estimate(values[name], values[f"{name}_low"], values[f"{name}_high"])
