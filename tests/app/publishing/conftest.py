"""What the tests of published models share: a project with a measured model."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.measured import write_metrics


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    """A copy of the small project, whose fine-tuned model was measured."""
    root = tmp_path / "project"
    shutil.copytree(searchable, root)
    write_metrics(root, "finetuned")
    return root
