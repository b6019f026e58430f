"""docs/sharing.md, with a folder and with S3 as remote: a clone that pulls computes nothing."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from pipeline.config.load import read_yaml
from tests.helpers.clone import (
    change_params,
    commit,
    dvc,
    free_port,
    git,
    restore,
    running,
    stages_run,
    wait_until,
)
from tests.helpers.encoded_images import encode
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_lookalike


@pytest.fixture
def shared(clone: Path, tmp_path: Path) -> Path:
    """A repository whose remote has all outputs, and of which each model has a version."""
    place = share(clone, tmp_path / "shared", remote=str(tmp_path / "remote"))
    for name in read_yaml(ROOT / "dvc.yaml")["artifacts"]:
        git(place, "tag", "--annotate", f"{name}@v1.0.0", "--message", "first")
    return place


def share(clone: Path, place: Path, *, remote: str, **settings: str) -> Path:
    """Return a repository in `place`, all outputs of which are in `remote`, pushed by `clone`."""
    git(clone, "clone", "--quiet", ".", str(place))
    for name, value in (("user.email", "a@b.c"), ("user.name", "a")):
        git(place, "config", name, value)
    assert dvc(clone, "remote", "add", "--default", "team", remote).returncode == 0
    for name, value in settings.items():
        assert dvc(clone, "remote", "modify", "team", name, value).returncode == 0
    pushed = dvc(clone, "push")
    assert pushed.returncode == 0, pushed.stderr
    shutil.copy(clone / ".dvc/config", place / ".dvc/config")
    restore(clone)
    commit(place, "a remote")
    return place


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a server that speaks S3, with the bucket `ours`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    port = str(free_port())
    address = f"http://127.0.0.1:{port}"
    with running(tmp_path, sys.executable, "-m", "moto.server", "--port", port):
        client = boto3.client("s3", endpoint_url=address)
        wait_until(lambda: has_bucket(client))
        yield address


def has_bucket(client: Any) -> bool:
    """Make the bucket, and return whether the server answered."""
    try:
        client.create_bucket(Bucket="ours")
    except EndpointConnectionError:
        return False
    return True


def test_a_bucket_of_s3_holds_a_project_too(clone: Path, tmp_path: Path, s3: str) -> None:
    place = share(clone, tmp_path / "shared", remote="s3://ours/lookalike", endpointurl=s3)
    pulled = dvc(place, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert stages_run(dvc(place, "repro")) == ["track"]
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode("JPEG"))
    answer = run_lookalike(place, "query", str(photo))
    assert answer.returncode == 0, answer.stderr


def test_a_clone_that_pulls_has_nothing_to_compute_and_can_query(shared: Path, clone: Path) -> None:
    """But that it logs the run to its own MLflow."""
    pulled = dvc(shared, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert stages_run(dvc(shared, "repro")) == ["track"]
    photo = shared.parent / "photo.jpg"
    photo.write_bytes(encode("JPEG"))
    answers = [run_lookalike(place, "query", str(photo)) for place in (shared, clone)]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout


def test_each_artifact_is_taken_by_its_name(shared: Path, clone: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, artifact in read_yaml(ROOT / "dvc.yaml")["artifacts"].items():
        got = subprocess.run(
            ["dvc", "artifacts", "get", str(shared), name, "--out", name],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=False,
        )
        assert got.returncode == 0, got.stderr
        made = clone / artifact["path"]
        for path in made.iterdir():
            assert (elsewhere / name / path.name).read_bytes() == path.read_bytes()


def test_a_model_is_published_with_what_its_run_measured(clone: Path) -> None:
    """dvc.lock is one that DVC wrote; params.yaml that were changed since are not published."""
    out = clone / "published"
    ran = run_lookalike(clone, "export", "published", "--model", "finetuned", "--format", "hub")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((out / "metrics.json").read_text()) == json.loads(
        (clone / "metrics/finetuned.json").read_text()
    )
    assert "| `recall_at_1` |" in (out / "README.md").read_text()
    shutil.rmtree(out)
    change_params(clone, {"seed": 8})
    ran = run_lookalike(clone, "export", "published", "--model", "finetuned", "--format", "hub")
    restore(clone)
    assert ran.returncode == 2
    assert (
        "params.yaml: seed: found 8; models/finetuned was made with 7; set that, or" in ran.stderr
    )
