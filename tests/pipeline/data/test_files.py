"""Files are written whole or not at all, several of them together."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.files import PREFIX, written_whole
from tests.helpers.paths import ROOT


def test_a_failure_leaves_all_files_as_they_were_and_nothing_else(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "made" / "new.txt"
    old.write_text("old")

    def fail() -> None:
        with written_whole(old, new) as (first, second):
            first.write_text("half")
            second.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["old.txt"]


def test_files_are_replaced_together(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for content in ("1", "2"):
        with written_whole(*paths) as unfinished:
            for path in unfinished:
                path.write_text(content)
        assert [path.read_text() for path in paths] == [content, content]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_is_replaced_with_all_that_it_held(tmp_path: Path) -> None:
    for name in ("before", "after"):
        with written_whole(tmp_path / "folder", tmp_path / "file") as (folder, file):
            folder.mkdir()
            (folder / name).touch()
            file.write_text(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["after"]


def test_what_a_killed_process_left_is_removed_and_what_a_user_has_is_not(tmp_path: Path) -> None:
    (tmp_path / "folder.part").write_text("the user's own")
    killed = f"""
import os, signal
from pathlib import Path
from pipeline.data.files import written_whole
with written_whole(Path({str(tmp_path / "folder")!r})) as (folder,):
    folder.mkdir()
    (folder / "left").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False).returncode < 0
    assert len(list(tmp_path.glob(f"{PREFIX}*/folder/left"))) == 1
    with written_whole(tmp_path / "folder") as (folder,):
        folder.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.part"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_two_writers_of_one_path_do_not_disturb_each_other(tmp_path: Path) -> None:
    with written_whole(tmp_path / "file") as (one,):
        one.write_text("one")
        with written_whole(tmp_path / "file") as (other,):
            other.write_text("other")
        assert (tmp_path / "file").read_text() == "other"
    assert (tmp_path / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
