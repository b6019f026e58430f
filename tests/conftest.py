"""The order of the tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those on a clone, which runs the whole DAG: else one would end alone, and late."""
    items.sort(key=lambda item: "clone" not in getattr(item, "fixturenames", ()))
