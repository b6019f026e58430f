"""Runs: how they are named, what of them is queued, and why they failed."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dvc.utils.hydra import to_hydra_overrides

from app.experiments import dvc_adapter
from app.experiments.dvc_adapter import as_override, is_complete_in_queue
from app.experiments.queued_runs import (
    Origin,
    find_reason,
    make_run,
    name_run,
    read_origin,
    shorten,
)
from app.experiments.recipes import Recipe
from pipeline.errors import UserError
from tests.helpers.clone import git
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"margin": 0.3, "epochs": 10}, "tiny_margin=0.3_epochs=10_1a2b3c4"),
        ({"lr": 2e-05, "weights": None}, "tiny_lr=2e-05_weights=null_1a2b3c4"),
        ({"k": [1, 5], "source": "../a b:c~^?*.lock"}, "tiny_k=-1-5-_source=.-a-b-c-.lock_1a2b3c4"),
        ({"lr": 0.0012345678}, "tiny_lr=0.001235_1a2b3c4"),
        ({"factory": "é@{x}" * 50}, None),
    ],
)
def test_a_name_is_one_that_git_takes(values: dict[str, Any], name: str | None) -> None:
    found = name_run("tiny", values, "1a2b3c4")
    assert name is None or found == name
    assert len(found) <= 108
    assert "/" not in found
    assert git(ROOT, "check-ref-format", f"refs/exps/{found}") == ""


def test_keys_are_as_short_as_they_can_be_told_apart() -> None:
    keys = ["loss.triplet.margin", "loss.margin.margin", "train.epochs", "loss.name"]
    assert list(shorten(keys).values()) == [
        "triplet.margin",
        "margin.margin",
        "epochs",
        "loss.name",
    ]


VALUES = (None, True, 3, 0.3, 2e-05, [1, 5], [0.6, 1.0], ["a", "b'c"], [])
TEXTS = ("", "x", "null", "1e-3", "/a b/c,d=e[f]", "it's", "a\\'b", "end\\")


@pytest.mark.parametrize("value", [*VALUES, *TEXTS])
def test_every_value_comes_through_dvcs_command_line_as_it_is(value: Any) -> None:
    (parsed,) = to_hydra_overrides([f"a.b={as_override(value)}"])

    def plain(got: Any) -> Any:
        return [plain(each) for each in got] if isinstance(got, list) else getattr(got, "text", got)

    got = plain(parsed.value())
    assert got == value
    assert type(got) is type(value)


def test_a_source_is_whole_in_the_queue_if_git_or_dvc_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    source = Path("images/mugs")
    source.mkdir(parents=True)
    (source / "a.png").touch()
    assert not is_complete_in_queue(source, whole=False)
    git(tmp_path, "add", "images")
    assert is_complete_in_queue(source, whole=True)
    (source / "b.png").touch()
    assert is_complete_in_queue(source, whole=False)
    assert not is_complete_in_queue(source, whole=True)
    assert is_complete_in_queue(source.absolute(), whole=True)
    Path("images.dvc").touch()
    assert is_complete_in_queue(source, whole=True)


@pytest.mark.parametrize("name", ["sop", "fashion_mnist"])
def test_what_is_fetched_does_not_need_the_images_at_the_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it archives or files that are fetched: images that git has not are not read."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    Path("images").mkdir()
    Path("images/README.md").touch()
    git(tmp_path, "add", "images")
    Path("images/mine.png").touch()
    origin = Origin("abc", "", (ROOT / "params.yaml").read_text())
    for official in (True, False):
        settings = {"data.name": name, f"data.{name}.official": official}
        recipe = Recipe(Path("recipes/r.yaml"), "R", settings, ())
        with nullcontext() if official else pytest.raises(UserError, match="sees only what is in"):
            make_run(recipe, {"seed": 1}, origin, short={"seed": "seed"})


def test_what_begins_while_the_queue_is_read_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [
        [{"name": "waits", "status": "Queued"}, {"name": "begins", "status": "Failed"}],
        [
            {"name": "begins", "status": "Running"},
            {"name": "missed", "status": "Running"},
            {"name": "begins", "status": "Failed"},
        ],
    ]
    queue = SimpleNamespace(status=lambda: looks.pop(0))
    known = nullcontext(SimpleNamespace(celery_queue=queue))
    monkeypatch.setattr(dvc_adapter, "_experiments", lambda: known)
    assert dvc_adapter.read_queue() == {
        "waits": "Queued",
        "begins": "Running",
        "missed": "Running",
    }


def test_images_that_dvc_has_and_that_changed_make_another_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "images.dvc", "dvc.lock"):
        Path(name).write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a")
    before = read_origin(Path("params.yaml"))
    Path("dvc.lock").write_text("2")
    assert read_origin(Path("params.yaml")) == before
    Path("images.dvc").write_text("2")
    assert read_origin(Path("params.yaml")).digest() != before.digest()


def test_a_folder_without_dvc_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(UserError) as error:
        dvc_adapter.read_queue()
    assert str(error.value) == "dvc: found no .dvc here; experiments need one; run: dvc init"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "Running stage 'train':\n> python -m stages.train\n"
            "train: batches.pk.classes: found 1000\n"
            "ERROR: failed to reproduce 'train': failed to run: python, exited with 1\n",
            "train: batches.pk.classes: found 1000",
        ),
        (
            "embed_baseline: 3.2 s\nTraceback (most recent call last):\n"
            "torch.OutOfMemoryError: CUDA out of memory\n\n"
            "ERROR: failed to reproduce 'embed@finetuned': failed to run: python, exited with 1\n",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
        (
            "ERROR: failed to reproduce 'train': failed to run: python, exited with -9\n",
            "failed to reproduce 'train': failed to run: python, exited with -9",
        ),
        (
            "Running stage 'embed@baseline':\n> python -m stages.embed\n",
            "its processes were killed in embed@baseline; run again",
        ),
        ("", "it did not begin, so there is no log; run again"),
    ],
)
def test_the_reason_of_a_failure_is_the_stages_own_line(log: str, reason: str) -> None:
    assert find_reason(log) == reason
