"""Files are written whole or not at all, several of them together."""

import errno
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

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


def _by_arrow(path: Path) -> None:
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(100_000)}), path)


def _by_faiss(path: Path) -> None:
    index = faiss.IndexFlatL2(32)
    index.add(np.zeros((5000, 32), np.float32))
    faiss.write_index(index, str(path))


def _by_safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(200_000)}, path)


def _by_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(torch.zeros(200_000), file)


@pytest.mark.parametrize("write", [_by_arrow, _by_faiss, _by_safetensors, _by_torch])
def test_whatever_a_library_raises_where_the_disk_refuses_names_the_path(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    """The limit of a file's size stands for a full disk, which a test cannot make."""
    path = tmp_path / "made/file"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with (
            pytest.raises(OSError, match="File too large") as error,
            written_whole(path) as (part,),
        ):
            write(part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert list(path.parent.iterdir()) == []
