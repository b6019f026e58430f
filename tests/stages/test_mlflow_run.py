"""What identifies the MLflow run of an execution."""

import os
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


def test_a_user_without_a_name_is_told_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container; Python raises a KeyError before 3.13."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("stages.mlflow_run.getuser", lambda: {}["no such user"])
    assert describe_run(load(), "1").about["mlflow.user"] == str(os.getuid())


def test_a_run_is_called_after_its_network_and_loss_if_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    params = load()
    assert describe_run(params, "1").name == "tf_efficientnet_lite0 multi_similarity"
    assert describe_run(params, "1", trained=False).name == "tf_efficientnet_lite0 as it is"
    assert describe_run(params, "1", variant="arc").name.startswith("arc: tf_efficientnet")
