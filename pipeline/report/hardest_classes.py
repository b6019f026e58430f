"""The classes that the trained model finds worst."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.figures.palette import MODELS

MOST = 20


@dataclass(frozen=True)
class HardClass:
    """A class, its queries, and metric -> the models' values, None where it was not measured."""

    name: str
    queries: int
    values: Mapping[str, tuple[float | None, ...]]


def hardest_classes(
    results: Mapping[str, pd.DataFrame], names: Mapping[int, str], *, most: int = MOST
) -> list[HardClass]:
    """Return the at most `most` classes of lowest `map` of the trained model, the lowest first.

    results: {model: CLASS_RESULTS}. Shown are map, the first recall_at_<k> and knn_accuracy.
    """
    finetuned = results[MODELS[-1]]
    recall = [str(name) for name in finetuned if str(name).startswith("recall_at_")][:1]
    shown = [name for name in ("map", *recall, "knn_accuracy") if name in finetuned]
    if "map" not in shown:
        return []
    by_label = {model: _by_label(results[model]) for model in MODELS}
    worst = finetuned.sort_values(["map", "label"])[:most]
    return [
        HardClass(
            names[int(label)],
            int(queries),
            {
                name: tuple(by_label[model].get(label, {}).get(name) for model in MODELS)
                for name in shown
            },
        )
        for label, queries in zip(worst["label"], worst["queries"], strict=True)
    ]


def _by_label(table: pd.DataFrame) -> dict[int, dict[str, float]]:
    rows = table.set_index("label").to_dict("index")
    return {
        int(str(label)): {str(name): value for name, value in row.items() if not pd.isna(value)}
        for label, row in rows.items()
    }
