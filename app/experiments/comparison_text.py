"""A comparison as `lookalike compare` prints it: sides, metrics, advice and verdict."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from app.experiments import provenance_diff
from app.experiments.dvc_adapter.lock import Provenance
from app.experiments.evaluated_models import EvaluatedModel
from app.experiments.text_tables import align_columns
from pipeline.comparison.compare import MAIN_METRIC, Comparison
from pipeline.comparison.paired_bootstrap import MIN_UNITS
from pipeline.comparison.verdict import judge
from pipeline.evaluation.bootstrap_t import MAX_RELATED

Sides = Sequence[Sequence[EvaluatedModel]]  # A's models and B's

# Of more metrics than these, a table of several sides shows those whose names begin so; the Parquet
# file has all.
MANY = 8
SHOWN = ("map", "recall_at_1", "precision_at_5", "mrr", "knn_accuracy")
NETWORKS = " (these two networks, not their settings)"
# In place of an infinite interval; `paired_intervals` lists the cases.
INCONCLUSIVE = "inconclusive"
TOO_FEW = (
    f"fewer than {MIN_UNITS} classes or queries, or one label on so many that over "
    f"{MAX_RELATED:.0%} of their pairs share a label"
)


def describe_pair(sides: Sides, found: Comparison) -> str:
    """Return a comparison of two sides: settings, metrics, advice, and the verdict last."""
    return "\n".join(
        [
            format_sides(sides),
            format_counts(found),
            format_metrics(found.metrics),
            *advise_seeds(sides, found),
            f"verdict: {describe_verdict(sides, found)}",
        ]
    )


def describe_all(
    sides: Mapping[str, Sequence[EvaluatedModel]], found: Mapping[tuple[str, str], Comparison]
) -> str:
    """Return a comparison of three sides or more: their metrics, and the verdict on each pair.

    found: the comparison of each pair, by the letters of its sides.
    """
    first = next(iter(found.values()))
    lines = [
        f"{side}: {', '.join(each.describe() for each in models)}" for side, models in sides.items()
    ]
    return "\n".join(
        [
            *lines,
            format_counts(first),
            _format_means(sides, found),
            "",
            "the row is, than the column (by map; p corrected for all pairs and metrics):",
            _format_verdicts(sides, found),
            *_warn_of_seeds(sides, found),
        ]
    )


def _warn_of_seeds(
    sides: Mapping[str, Sequence[EvaluatedModel]], found: Mapping[tuple[str, str], Comparison]
) -> list[str]:
    trained = [side for side, models in sides.items() if any(each.is_trained for each in models)]
    if not trained or all(each.has_seed_variance for each in found.values()):
        return []
    return [
        "where sides have one training each, these are verdicts on the networks, not their "
        "settings: another seed may give another one; several are A1,A2,A3"
    ]


def _format_means(
    sides: Mapping[str, Sequence[EvaluatedModel]], found: Mapping[tuple[str, str], Comparison]
) -> str:
    """Return a row for each side, a column for each of a few metrics that all of them have."""
    values: dict[str, dict[str, float]] = {side: {} for side in sides}
    for (a, b), each in found.items():
        metrics = each.metrics["metric"].tolist()
        values[a] |= dict(zip(metrics, each.metrics["a"], strict=True))
        values[b] |= dict(zip(metrics, each.metrics["b"], strict=True))
    known = [
        name for name in next(iter(values.values())) if all(name in of for of in values.values())
    ]
    names = [name for name in known if name.startswith(SHOWN)] if len(known) > MANY else known
    rows = [[side, *(f"{of[name]:.3f}" for name in names)] for side, of in values.items()]
    return align_columns([["", *names], *rows])


def _format_verdicts(
    sides: Mapping[str, Sequence[EvaluatedModel]], found: Mapping[tuple[str, str], Comparison]
) -> str:
    """Return a table of verdicts: a row for each side but the first, a column but for the last."""
    names = list(sides)
    rows = [["", *names[:-1]]]
    for row, b in enumerate(names[1:], 1):
        cells = [_shorten_verdict((sides[a], sides[b]), found[a, b]) for a in names[:row]]
        rows.append([b, *cells, *[""] * (len(names) - 1 - row)])
    return "\n".join(line.rstrip() for line in align_columns(rows).splitlines())


def _shorten_verdict(sides: Sides, found: Comparison) -> str:
    """Return the verdict's word, with the difference of the main metric."""
    if _are_one_setting(sides) or found.identical:
        return "no difference"
    metrics = found.metrics
    [difference] = metrics.loc[metrics["metric"] == MAIN_METRIC, "difference"].tolist()
    return f"{judge(metrics).word} {difference:+.3f}"


def format_sides(sides: Sides) -> str:
    """Return a line for each side, and one for each setting, code or data that differs."""
    lines = [
        f"{side}: {', '.join(model.describe() for model in models)}"
        for side, models in zip("AB", sides, strict=True)
    ]
    a, b = (models[0] for models in sides)
    if a.provenance is None or b.provenance is None:
        return "\n".join([*lines, "settings: unknown, since dvc.lock does not have them"])
    one_model = a.model == b.model
    differences = [] if one_model else [f"model: {a.model} -> {b.model}"]
    differences += provenance_diff.list_differences(a.provenance, b.provenance, one_model=one_model)
    return "\n".join([*lines, *(f"  {line}" for line in differences or ["no setting differs"])])


def format_counts(found: Comparison) -> str:
    """Return how many queries were compared, and what was resampled."""
    text = f"{found.shared} queries, resampled by "
    text += (
        f"their {found.unit_count} classes" if found.by_class else "themselves (too few classes)"
    )
    if found.only_a or found.only_b:
        text += f"; left out: {found.only_a} queries of A only, {found.only_b} of B only"
    return text


def format_metrics(metrics: pd.DataFrame) -> str:
    """Return a COMPARISON table as text."""
    rows = [["metric", "A", "B", "difference", "95% interval", "p", "p (Holm)"]]
    for row in metrics.to_dict("records"):
        values = [f"{row['a']:.3f}", f"{row['b']:.3f}", f"{row['difference']:+.3f}"]
        corrected = "-" if pd.isna(row["p_holm"]) else _format_p(row["p_holm"])
        rows.append([row["metric"], *values, _format_interval(row), _format_p(row["p"]), corrected])
    return align_columns(rows)


def advise_seeds(sides: Sides, found: Comparison) -> list[str]:
    """Return how to include seed variance, in lines; none where it is included or absent."""
    trained = _list_trained(sides)
    if found.identical or found.has_seed_variance or not trained or _are_one_setting(sides):
        return []
    several = " ".join(f"{side}1,{side}2,{side}3" if side in trained else side for side in "AB")
    return [
        "seed variance is not in these intervals, so another seed may give another verdict; to "
        f"compare settings: train {' and '.join(trained)} twice more",
        "(dvc exp run -S train.seed=8, and the same with 9), then: lookalike compare " + several,
    ]


def describe_verdict(sides: Sides, found: Comparison) -> str:
    """Return the verdict on a comparison, and for two trainings of one setting, why.

    Without seed variance it is one on networks: of two settings that are equally good, one training
    each may differ by more than chance in most cases, if seed variance is large.
    """
    metrics = found.metrics
    if not _are_one_setting(sides):
        if found.identical:
            return f"no difference: each query has the same results; {_describe_main(metrics)}"
        of_settings = found.has_seed_variance or not _list_trained(sides)
        return describe_judgement(metrics, subject="" if of_settings else NETWORKS)
    seeds = [provenance_diff.find_training_seed(each) for each in _list_provenance(sides)]
    if len(set(seeds)) == 1:
        return f"no difference: one setting and one seed; {_describe_main(metrics)}"
    listed = ", ".join(str(seed) for seed in seeds)
    return (
        f"no difference: trainings of one setting (seeds {listed}); "
        f"{_describe_main(metrics)} is seed variance"
    )


def describe_judgement(metrics: pd.DataFrame, *, subject: str = "") -> str:
    """Return the verdict on a COMPARISON table, and the metrics that changed otherwise.

    subject: follows the verdict's word, and says of what it is.
    """
    verdict = judge(metrics)
    if verdict.word == INCONCLUSIVE:
        return f"{INCONCLUSIVE}: {TOO_FEW}; {_describe_main(metrics)}"
    changed = {"better": ", ".join(verdict.up), "worse": ", ".join(verdict.down)}
    changed.pop(verdict.word, None)
    others = [f"{word} in {names}" for word, names in changed.items() if names]
    return "; ".join([f"{verdict.word}{subject}: {_describe_main(metrics)}", *others])


def _list_trained(sides: Sides) -> list[str]:
    """Return which of the sides, A and B, were trained."""
    return [
        side
        for side, models in zip("AB", sides, strict=True)
        if any(model.is_trained for model in models)
    ]


def _are_one_setting(sides: Sides) -> bool:
    models = [model for models in sides for model in models]
    provenance = _list_provenance(sides)
    return (
        len({model.model for model in models}) == 1
        and len(provenance) == len(models)
        and provenance_diff.are_one_setting(provenance)
    )


def _list_provenance(sides: Sides) -> list[Provenance]:
    """Return the provenance of the models that have one."""
    return [model.provenance for models in sides for model in models if model.provenance]


def _describe_main(metrics: pd.DataFrame) -> str:
    row = metrics.set_index("metric").loc[MAIN_METRIC]
    return f"{MAIN_METRIC} {row['difference']:+.3f} ({_format_interval(row.to_dict())})"


def _format_interval(row: Mapping[Hashable, Any]) -> str:
    if not np.isfinite(row["low"]):
        return INCONCLUSIVE
    return f"{row['low']:+.3f} to {row['high']:+.3f}"


def _format_p(p: float) -> str:
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"
