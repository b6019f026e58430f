"""The classes for which the trained model is weakest."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.figures.palette import MODELS

MOST = 20


@dataclass(frozen=True)
class HardClass:
    """A class, the number of its queries, and metric -> each model's value, None if missing."""

    name: str
    queries: int
    values: Mapping[str, tuple[float | None, ...]]


def hardest_classes(
    results: Mapping[str, pd.DataFrame], class_names: Mapping[int, str], *, most: int = MOST
) -> list[HardClass]:
    """Return the at most `most` classes where the trained model's map is lowest, the lowest first.

    Their metrics are map, the first recall_at_<k> and knn_accuracy.

    results: {model: CLASS_RESULTS}. class_names: label -> display name.
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
            class_names[int(label)],
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
