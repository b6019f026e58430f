"""DVC's queue: what it is given and how it is read, without running anything in it."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dvc.utils.hydra import to_hydra_overrides

from app.experiments.dvc_adapter import queue
from app.experiments.dvc_adapter.queue import format_override
from pipeline.errors import UserError
from tests.helpers.clone import git

VALUES = (None, True, 3, 0.3, 2e-05, [1, 5], [0.6, 1.0], ["a", "b'c"], [])
TEXTS = ("", "x", "null", "1e-3", "/a b/c,d=e[f]", "it's", "a\\'b", "end\\")


@pytest.mark.parametrize("value", [*VALUES, *TEXTS])
def test_every_value_passes_dvcs_command_line_unchanged(value: Any) -> None:
    (parsed,) = to_hydra_overrides([f"a.b={format_override(value)}"])

    def plain(got: Any) -> Any:
        return [plain(each) for each in got] if isinstance(got, list) else getattr(got, "text", got)

    got = plain(parsed.value())
    assert got == value
    assert type(got) is type(value)


def test_an_experiment_finds_all_of_a_folder_if_git_or_dvc_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    source = Path("images/mugs")
    source.mkdir(parents=True)
    (source / "a.png").touch()
    assert not queue.is_in_git_or_dvc(source, whole=False)
    git(tmp_path, "add", "images")
    assert queue.is_in_git_or_dvc(source, whole=True)
    (source / "b.png").touch()
    assert queue.is_in_git_or_dvc(source, whole=False)
    assert not queue.is_in_git_or_dvc(source, whole=True)
    assert queue.is_in_git_or_dvc(source.absolute(), whole=True)
    Path("images.dvc").touch()
    assert queue.is_in_git_or_dvc(source, whole=True)


def test_an_experiment_that_starts_while_the_queue_is_read_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = [
        [{"name": "waits", "status": "Queued"}, {"name": "starts", "status": "Failed"}],
        [
            {"name": "starts", "status": "Running"},
            {"name": "missed", "status": "Running"},
            {"name": "starts", "status": "Failed"},
        ],
    ]
    fake = SimpleNamespace(status=lambda: looks.pop(0))
    experiments = nullcontext(SimpleNamespace(celery_queue=fake))
    monkeypatch.setattr(queue, "_experiments", lambda: experiments)
    assert queue.read_states() == {
        "waits": "Queued",
        "starts": "Running",
        "missed": "Running",
    }


def test_a_folder_without_dvc_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(UserError) as error:
        queue.read_states()
    assert str(error.value) == "dvc: found no .dvc here; experiments need one; run: dvc init"


def refused_with(text: str) -> SimpleNamespace:
    return SimpleNamespace(returncode=1, stdout="", stderr=f"Adding.\nERROR: {text}\n")


def test_what_dvc_refuses_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(queue.time, "sleep", waits.append)
    monkeypatch.setattr(queue, "_run_dvc", lambda *_: refused_with("'x' does not exist."))
    with pytest.raises(UserError) as error:
        queue.remove("x")
    assert str(error.value) == "dvc queue remove: 'x' does not exist."
    assert waits == []


@pytest.mark.parametrize(
    "text",
    [
        "Unable to acquire lock. Most likely another DVC process is running",
        "'refs/exps/celery/stash' is busy, it is being blocked by:",
        "unexpected error - [Errno 2] No such file or directory: '.dvc/tmp/exps/celery/x.msg'",
    ],
)
def test_a_held_lock_or_a_moved_file_is_waited_for(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    answers = [refused_with(text), refused_with(text), SimpleNamespace(returncode=0)]
    monkeypatch.setattr(queue.time, "sleep", waits.append)
    monkeypatch.setattr(queue, "_run_dvc", lambda *_: answers.pop(0))
    queue.remove("x")
    assert waits == [1, 2]


def test_an_error_that_is_neither_lock_nor_file_is_raised_at_once() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise AttributeError("no attribute 'status'")

    with pytest.raises(AttributeError):
        queue._retry(fail)
    assert len(calls) == 1
