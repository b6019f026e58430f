"""What tests share: the clone that whole DAGs run in, a project that can be asked, the order."""

from pathlib import Path

import pytest

from tests.clone import SMALL, run_clone


@pytest.fixture(scope="module")
def clone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of this working tree, with the module's PARAMS or small ones, run once."""
    params = getattr(request.module, "PARAMS", SMALL)
    return run_clone(tmp_path_factory.mktemp("clone") / "lookalike", params)


@pytest.fixture(scope="session")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of drawn pictures with two models and their indexes; not to be changed."""
    from tests.searchable import build  # torch, which most tests do without

    return build(tmp_path_factory.mktemp("searchable") / "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those on a clone, which runs the whole DAG: else one would end alone, and late."""
    items.sort(key=lambda item: "clone" not in getattr(item, "fixturenames", ()))
