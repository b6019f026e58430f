"""The hosts' workflow files run what .ci/run runs, and nothing else."""

from pipeline.config.load import read_yaml
from tests.helpers.paths import ROOT


def test_github_runs_the_test_command() -> None:
    job = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


def test_gitlab_runs_the_test_command() -> None:
    assert read_yaml(ROOT / ".gitlab-ci.yml")["test"]["script"] == ["bash .ci/run"]
