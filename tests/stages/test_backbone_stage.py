"""A relative weights file is found from a copy of the project as from the project itself."""

from pathlib import Path

import pytest

from stages.backbone import find_weights


def test_a_relative_file_is_the_projects_where_it_is_not_here(
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
