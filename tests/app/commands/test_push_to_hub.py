"""`lookalike push-to-hub`: what a Hub on loopback gets is the model, and what it refuses a line."""

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from app.commands.push_to_hub import push_to_hub
from app.searching.model_index import ModelIndex
from app.searching.untrusted_images import read_photo
from pipeline.data.lineage import MODEL_FILES, TEXT_FILE
from pipeline.errors import UserError
from tests.helpers import searchable as painted
from tests.helpers.encoded_images import encode, exif_of
from tests.helpers.fake_hub import FakeHub, Repository, running_hub
from tests.helpers.measured import copy_measured
from tests.helpers.processes import run_module

NAME, TOKEN = "me/birds", "hf_secret"
REMEDY = (
    "allowed: a token of the Hub that may write (https://huggingface.co/settings/tokens); set "
    "HF_TOKEN, or run: hf auth login"
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The Hub of this process, which has a token for it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    # Large files by LFS: the storage that the Hub prefers speaks no plain HTTP.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with running_hub() as running:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.address)
        yield running


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    return copy_measured(searchable, tmp_path / "project")


def push(root: Path, name: str = NAME, *, model: str = "best", private: bool = False) -> None:
    push_to_hub(root, name, model=model, private=private)


def error_line(root: Path, name: str = NAME, *, private: bool = False) -> str:
    with pytest.raises(UserError) as raised:
        push(root, name, private=private)
    line = str(raised.value)
    assert "\n" not in line
    assert TOKEN not in line
    return line


def require_pushed(hub: FakeHub, root: Path, model: str) -> None:
    """Fail unless the Hub has the files of the model, and its card."""
    files = hub.repositories[NAME].files
    assert {*files} == {*MODEL_FILES, "params.yaml", "metrics.json", "README.md"}
    for name in MODEL_FILES:
        assert files[name] == (root / "models" / model / name).read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert card.data.model_name == "birds"
    assert 'snapshot_download("me/birds")' in card.text


def test_the_bytes_that_arrive_are_those_of_the_model(
    project: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(project)
    require_pushed(hub, project, "finetuned")
    weights = (project / "models/finetuned/model.safetensors").read_bytes()
    assert [*hub.objects.values()] == [weights]
    assert hub.verified == {*hub.objects}
    assert hub.repositories[NAME].commits == ["The model finetuned of lookalike"]
    assert hub.repositories[NAME].private is False
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert capsys.readouterr() == (f"{hub.address}/{NAME}\n", "")


def test_where_nothing_is_large_all_is_in_the_commit(
    project: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the way that huggingface_hub takes where it has its storage's library."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    hub.large = ""
    push(project)
    require_pushed(hub, project, "finetuned")
    assert hub.objects == {}


def test_a_second_push_replaces_the_first(project: Path, hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(False, {TEXT_FILE: b"of another", "notes.md": b"mine"})
    push(project)
    assert {*hub.repositories[NAME].files} == {
        *MODEL_FILES, "params.yaml", "metrics.json", "README.md", "notes.md",
    }  # fmt: skip
    push(project, model="baseline")  # which was not measured
    files = hub.repositories[NAME].files
    assert {*files} == {*MODEL_FILES, "params.yaml", "README.md", "notes.md"}
    weights = (project / "models/baseline/model.safetensors").read_bytes()
    assert files["model.safetensors"] == weights
    assert len(hub.repositories[NAME].commits) == 2


def test_a_private_one_is_private(project: Path, hub: FakeHub) -> None:
    push(project, private=True)
    assert hub.repositories[NAME].private
    push(project, private=True)
    require_pushed(hub, project, "finetuned")


def test_nothing_private_goes_to_what_all_can_read(project: Path, hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(False)
    assert error_line(project, private=True) == (
        "--private: me/birds is there already, and all can read it; allowed: a new name, or one "
        "that is private; make it private in its settings on the Hub"
    )
    assert hub.repositories[NAME].files == {}


@pytest.mark.parametrize("name", ["birds", "me/bi rds", "me/a/b", "me/a--b", "me/.a", "me/b.git"])
def test_a_bad_name_is_one_line_before_anything_is_asked(
    project: Path, hub: FakeHub, name: str
) -> None:
    assert error_line(project, name) == (
        f"OWNER/NAME: found '{name}'; allowed: OWNER/NAME, of letters, digits, -, _ and ., such "
        "as me/birds; take another name"
    )
    assert hub.asked == []


@pytest.mark.parametrize(
    ("token", "found"), [(None, "none"), ("hf_ä", "one with characters that no token has")]
)
def test_without_a_token_nothing_is_asked(
    project: Path, hub: FakeHub, token: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    assert error_line(project) == f"HF_TOKEN: found {found}; {REMEDY}"
    assert hub.asked == []


def test_without_a_model_nothing_is_asked(project: Path, hub: FakeHub) -> None:
    (project / "models/finetuned/model.json").unlink()
    assert error_line(project).startswith(f"{project / 'models/finetuned/model.json'}: no such")
    assert hub.asked == []


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/objects/", "/commit/"])
def test_a_refusal_is_one_line(project: Path, hub: FakeHub, part: str) -> None:
    hub.refusals[part] = (403, "You have no right to\nwrite to me.")
    assert error_line(project) == (
        f"{hub.address}: refuses to write me/birds (403: You have no right to write to me.); "
        f"{REMEDY}"
    )
    assert all(not repository.files for repository in hub.repositories.values())


def test_a_token_that_the_hub_does_not_know_is_one_line(project: Path, hub: FakeHub) -> None:
    hub.refusals["/api/"] = (401, "Invalid username or password.")
    assert error_line(project) == (
        f"{hub.address}: refuses to write me/birds (401: Invalid username or password.); {REMEDY}"
    )


def test_another_answer_is_one_line(project: Path, hub: FakeHub) -> None:
    hub.refusals["/commit/"] = (413, "Too much.")
    assert error_line(project) == (
        f"{hub.address}: did not take me/birds (413: Too much.); run it again later, or take "
        "another name"
    )


def test_metadata_that_the_hub_does_not_take_is_one_line(project: Path, hub: FakeHub) -> None:
    hub.refusals["/validate-yaml"] = (400, "no such base model")
    assert error_line(project).startswith(
        f"{hub.address}: me/birds was not pushed (Invalid metadata in README.md."
    )


@pytest.mark.usefixtures("hub")
def test_no_connection_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert error_line(project) == (
        "http://127.0.0.1:9: me/birds was not pushed ([Errno 111] Connection refused); check the "
        "connection, HF_ENDPOINT and HF_HUB_OFFLINE, and run it again"
    )


@pytest.mark.slow
def test_the_command_pushes_what_the_example_of_the_card_fetches(
    project: Path, hub: FakeHub, tmp_path: Path
) -> None:
    """Two processes of their own, which know the Hub by HF_ENDPOINT and HF_TOKEN alone."""
    known = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    pushed = run_module(project, "app.cli", "push-to-hub", NAME, HF_HUB_DISABLE_XET="1", **known)
    assert (pushed.returncode, pushed.stdout) == (0, f"{hub.address}/{NAME}\n"), pushed.stderr
    assert pushed.stderr.splitlines()[-1] == f"push-to-hub: pushed the model finetuned to {NAME}"
    card = hub.repositories[NAME].files["README.md"].decode()
    example = card.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "example.py").write_text(f"{example}print(vector.tolist())\n")
    drawn = Image.open(io.BytesIO(painted.draw("green", "disc", 99)))
    lying = drawn.transpose(Image.Transpose.ROTATE_90)
    photo = encode("JPEG", lying, exif=exif_of(6), quality=92)  # as a phone that is held upright
    (tmp_path / "photo.jpg").write_bytes(photo)
    fetched = run_module(tmp_path, "example", **known)
    assert fetched.returncode == 0, fetched.stderr
    vector = ast.literal_eval(fetched.stdout.splitlines()[-1])
    expected = ModelIndex(project, "finetuned").embed(read_photo(tmp_path / "photo.jpg"))
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    as_stored = ModelIndex(project, "finetuned").embed(lying)
    assert np.abs(as_stored - expected).max() > 0.01  # the photo is one whose orientation counts


@pytest.mark.slow
def test_the_command_says_a_refusal_in_one_line(project: Path, hub: FakeHub) -> None:
    hub.refusals["/objects/"] = (403, "no right")
    ran = run_module(
        project, "app.cli", "push-to-hub", NAME,
        HF_ENDPOINT=hub.address, HF_TOKEN=TOKEN, HF_HUB_DISABLE_XET="1",
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == (
        f"lookalike: {hub.address}: refuses to write me/birds (403: no right); {REMEDY}\n"
    )
