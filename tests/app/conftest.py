"""What tests of comparisons share: a repository with experiments."""

from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.tiny_dag import make_project


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of `tests.helpers.tiny_dag`; whoever changes it changes it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        return make_project(tmp_path_factory.mktemp("compared") / "project")
