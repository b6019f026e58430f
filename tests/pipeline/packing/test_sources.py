"""A source is found where it is, unpacked or fetched, and leaves nothing behind."""

import tarfile
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.packing.sources import open_source


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "x.jpg").write_bytes(b"x")
    with tarfile.open(tmp_path / "p.tar", "w") as tar:
        tar.add(tmp_path / "x.jpg", "a/x.jpg")
    return tmp_path / "p.tar"


def test_a_folder_is_given_as_it_is(tmp_path: Path) -> None:
    with open_source(tmp_path, {}, downloads=tmp_path / "downloads") as folder:
        assert folder == tmp_path
    assert not (tmp_path / "downloads").exists()


def test_an_archive_lies_unpacked_for_a_while(archive: Path, tmp_path: Path) -> None:
    with open_source(archive, {}, downloads=tmp_path / "downloads") as folder:
        assert (folder / "a/x.jpg").read_bytes() == b"x"
    assert list((tmp_path / "downloads").iterdir()) == []


def test_what_a_killed_run_had_unpacked_is_cleared_and_a_running_ones_is_not(
    archive: Path, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    (downloads / "unpacked-killed/a").mkdir(parents=True)
    (downloads / "p.tar").write_bytes(b"fetched")
    with open_source(archive, {}, downloads=downloads) as running:
        with open_source(archive, {}, downloads=downloads) as folder:
            assert (folder / "a/x.jpg").is_file()
        assert (running / "a/x.jpg").is_file()
    assert [path.name for path in downloads.iterdir()] == ["p.tar"]


def test_fetched_files_lie_beside_what_archives_hold_by_their_names(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.gz").write_bytes(b"y")
    fetched = {"http://x.org/p.tar": archive, "http://x.org/y": tmp_path / "labels.gz"}
    monkeypatch.setattr("pipeline.packing.fetching.fetch", lambda url, *_, **__: fetched[url])
    archives = {"http://x.org/p.tar": None}
    files = {"b/labels.gz": ("http://x.org/y", None)}
    with open_source(Path("unused"), archives, files=files, downloads=tmp_path / "d") as folder:
        assert (folder / "a/x.jpg").read_bytes() == b"x"
        assert (folder / "b/labels.gz").read_bytes() == b"y"
    assert (tmp_path / "labels.gz").read_bytes() == b"y"
    with open_source(Path("unused"), {}, files=files, downloads=tmp_path / "d") as folder:
        assert [path.name for path in folder.iterdir()] == ["b"]


def test_a_damaged_archive_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(b"no archive")
    with (
        pytest.raises(UserError, match="neither a folder nor an archive"),
        open_source(archive, {}, downloads=tmp_path / "downloads"),
    ):
        pass
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError) as caught,
        open_source(tmp_path / "gone", {}, downloads=tmp_path / "downloads"),
    ):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/gone: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
        ".tar.xz, .zip; set data.source"
    )
