"""What tests share: clones that run whole DAGs, a project to query, markers, order, deadlines."""

import app  # noqa: F401, I001 - first, with stages: they tell numpy and torch which bits to compute
import stages  # noqa: F401

import gc
import os
import signal
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.clone import SMALL, copy_clone, run_clone
from tests.helpers.once import build_once
from tests.helpers.processes import restored_logging

# The processes of pytest-xdist share the cores, so each computes with one thread. A stage that a
# test starts has the threads of `bits: portable` again: `stages` sets its environment anew.
os.environ["OMP_NUM_THREADS"] = "1"

# Fixture -> the marker of the tests that use it; `make check` runs those without any marker.
MARKED_BY_FIXTURE = {
    "clone": "dag",
    "first_run": "dag",
    "compared": "dag",
    "dvc_project": "dag",
    "browser": "browser",
}


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this working tree, with small params, run once for all tests; do not change it."""
    return build_once(tmp_path_factory, "first_run", lambda place: run_clone(place, SMALL))


@pytest.fixture(scope="module")
def clone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module's own clone of this working tree, run once: with its PARAMS, or with small ones."""
    place = tmp_path_factory.mktemp("clone") / "lookalike"
    if hasattr(request.module, "PARAMS"):
        return run_clone(place, request.module.PARAMS)
    return copy_clone(request.getfixturevalue("first_run"), place)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    with restored_logging():
        yield


def pytest_configure() -> None:
    """Make tests the same on a busy machine and in a shell's background."""
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")
    # A shell that runs the tests in the background makes them ignore Ctrl-C, and so the stages that
    # they start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of painted images with two models and their indexes; do not change it."""
    from tests.helpers.searchable import build  # torch, which most tests do without

    return build(tmp_path_factory.mktemp("searchable") / "project")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The backbone.name of a model of images and texts that knows the images of `searchable`."""
    from tests.helpers.tiny_clip import make_tiny_clip

    return f"open_clip:local-dir:{build_once(tmp_path_factory, 'clip', make_tiny_clip)}"


@pytest.fixture(scope="session")
def searchable_by_text(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `searchable`, but its baseline understands text; do not change it."""
    from tests.helpers.searchable import build
    from tests.helpers.tiny_clip import write_models

    folder = tmp_path_factory.mktemp("searchable") / "project"
    return build(folder, write_models=partial(write_models, tiny_clip))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the collector of garbage pass over modules and tests, which last to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let Python take modules apart as usual: libraries report on what is left."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, and begin with those that run a DAG.

    tryfirst: `-m` selects by these markers. A DAG takes minutes: begun late, it would end alone.
    """
    for item in items:
        for fixture in MARKED_BY_FIXTURE.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKED_BY_FIXTURE[fixture])
    items.sort(key=lambda item: item.get_closest_marker("dag") is None)
