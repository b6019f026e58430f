"""What the tests of published models share: a project with a measured model."""

from pathlib import Path

import pytest

from tests.helpers.measured import copy_measured


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    """A copy of the small project, whose fine-tuned model was measured."""
    return copy_measured(searchable, tmp_path / "project")
