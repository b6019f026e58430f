"""The hosts' workflow files run what .ci/run runs, and the container the README's commands."""

import subprocess

from pipeline.config.load import read_yaml
from tests.helpers.paths import ROOT


def test_github_runs_the_test_command() -> None:
    job = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


def test_gitlab_runs_the_test_command() -> None:
    assert read_yaml(ROOT / ".gitlab-ci.yml")["test"]["script"] == ["bash .ci/run"]


def test_a_container_has_all_that_a_clone_has_and_runs_the_first_command() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text().splitlines()
    assert "COPY . ." in dockerfile
    assert any(line.startswith("RUN make install") for line in dockerfile)
    assert dockerfile[-1] == 'CMD ["make", "repro"]'
    *ignored, kept = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    assert kept == "!**/.gitignore"
    folders = [each.removesuffix("/**") for each in ignored]
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for path in listed.stdout.splitlines():
        if not path.endswith(".gitignore"):
            assert not any(path == each or path.startswith(f"{each}/") for each in folders), path
