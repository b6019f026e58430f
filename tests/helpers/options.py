"""Options of params.yaml as the typed objects that the code gets."""

from typing import Any

from pipeline.config.load import read_yaml
from pipeline.datasets import DATASETS
from tests.helpers.paths import ROOT


def dataset_options(name: str, **changes: Any) -> Any:
    """Return the options of dataset `name` in params.yaml, with `changes`."""
    block = read_yaml(ROOT / "params.yaml")["data"][name]
    return DATASETS[name].options(**block | changes)
