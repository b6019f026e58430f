"""Options of params.yaml as the typed objects that the code gets."""

from typing import Any

from pipeline.datasets import DATASETS
from tests.helpers.overlay import overlaid


def dataset_options(name: str, **changes: Any) -> Any:
    """Return the options of dataset `name` in params.yaml, with `changes`."""
    block = overlaid({})["data"][name]
    return DATASETS[name].options(**block | changes)
