"""What the tests of comparisons share: a repository with experiments."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.once import build_once
from tests.helpers.paths import ROOT
from tests.helpers.tiny_dag import make_project


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of `tests.helpers.tiny_dag`; a test that changes it undoes the change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        ready = build_once(tmp_path_factory, "compared", make_project)
    own = tmp_path_factory.mktemp("own") / "project"
    return Path(shutil.copytree(ready, own, symlinks=True))
