"""What identifies the MLflow run of an execution."""

import subprocess

import pytest

from stages.mlflow_run import describe_run
from stages.runner import load
from tests.helpers.paths import ROOT


def test_the_commit_is_a_tag_where_git_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = load()
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert describe_run(params, "1").tags["mlflow.source.git.commit"] == head.stdout.strip()
    monkeypatch.setenv("PATH", "")
    assert "mlflow.source.git.commit" not in describe_run(params, "1").tags
