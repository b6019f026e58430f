"""A relative weights file is found from the project and from a copy of it."""

from pathlib import Path

import pytest

from stages.backbone import find_weights


def test_a_relative_file_that_is_missing_here_is_taken_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    for directory in (root, copy):
        directory.mkdir()
    (root / "w.pt").touch()
    monkeypatch.chdir(copy)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert find_weights("w.pt") == "w.pt"
    monkeypatch.setenv("DVC_ROOT", str(root))
    assert find_weights("w.pt") == str(root / "w.pt")
    assert find_weights("/elsewhere/w.pt") == "/elsewhere/w.pt"
    assert find_weights("imagenet") == "imagenet"
    assert find_weights(None) is None
    (copy / "w.pt").touch()
    assert find_weights("w.pt") == "w.pt"
