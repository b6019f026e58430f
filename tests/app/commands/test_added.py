"""`lookalike add` and `remove`: faults before any work; and in a real repository, no training."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from app.commands import added
from app.commands.added import add_images, remove_images
from pipeline.errors import UserError
from tests.helpers.clone import copy_clone, outputs, skip_drawing
from tests.helpers.encoded_images import encode
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_lookalike, run_module


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an added image; that its stages were to run is told by a file `ran`."""
    root = tmp_path / "project"
    (root / "added/old").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "added/README.md"):
        shutil.copy(ROOT / name, root / name)
    (root / "added/old/a.jpg").write_bytes(encode("JPEG"))
    monkeypatch.setattr(added, "reproduce_index", lambda path: path.joinpath("ran").touch())
    return root


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(root: Path) -> list[str]:
    folder = root / "added"
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def test_files_and_folders_are_copied_under_their_names(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = put(tmp_path / "one.png", encode("PNG"))
    put(tmp_path / "more/deep/two.jpg", encode("JPEG"))
    put(tmp_path / "more/notes.txt", b"text")
    add_images(project, [one, tmp_path / "more"])
    assert files(project) == ["more/deep/two.jpg", "old/a.jpg", "one.png"]
    assert (project / "added/one.png").read_bytes() == encode("PNG")
    assert (project / "ran").exists()
    monkeypatch.chdir(tmp_path / "more")
    # Again, by other paths, and what is there: nothing is new.
    own = project / "added"
    add_images(project, [Path(), own, own / "old", own / "one.png"])
    assert files(project) == ["more/deep/two.jpg", "old/a.jpg", "one.png"]


def test_all_faults_are_told_at_once_and_nothing_is_copied(project: Path, tmp_path: Path) -> None:
    good = put(tmp_path / "good.jpg", encode("JPEG"))
    text = put(tmp_path / "text.jpg", b"text")
    other = put(tmp_path / "old/a.jpg", encode("PNG"))
    same = put(tmp_path / "again/good.jpg", encode("PNG"))
    cut = put(tmp_path / "cut.jpg", encode("JPEG")[:-200])
    hidden = put(tmp_path / ".hidden.jpg", encode("JPEG"))
    suffix = put(tmp_path / "photo.txt", encode("JPEG"))
    table = put(tmp_path / "more.parquet", b"")
    put(project / "added/file", b"")
    below = put(tmp_path / "file/x.jpg", encode("JPEG"))
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(UserError) as caught:
        add_images(
            project,
            [
                good,
                text,
                tmp_path / "old",
                same,
                cut,
                hidden,
                suffix,
                tmp_path / "file",
                pipe,
                table,
            ],
        )
    assert caught.value.args == (
        f"{text}: not an image; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC",
        f"{other}: another image is at {project}/added/old/a.jpg; rename one of them",
        f"{good} and {same}: have one name; rename one of them",
        f"{cut}: damaged (image file is truncated (5 bytes not processed)); give the whole image",
        f"{hidden}: would be ignored, as '.hidden.jpg' is a hidden name; rename it",
        f"{suffix}: would be ignored by its suffix; rename it, as to .jpg",
        f"{below}: {project}/added/file is a file, not a folder; rename it",
        f"{pipe}: not a file; allowed: image files, and folders of them",
        f"{table}: a Parquet file; allowed: image files; copy it to {project}/added yourself, and "
        "run: dvc repro index",
    )
    (project / "added/file").unlink()
    with pytest.raises(UserError) as caught:
        add_images(project, [tmp_path / "none.jpg"])
    assert str(caught.value).startswith(f"{tmp_path}/none.jpg: no such file; ")
    assert files(project) == ["old/a.jpg"]
    assert not (project / "ran").exists()


def test_an_image_of_a_folder_that_cannot_be_read_is_left_out_with_a_warning(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "day/good.jpg", encode("JPEG"))
    cut = put(tmp_path / "day/cut.jpg", encode("JPEG")[:-200])
    put(tmp_path / "day/old.jpg", encode("PNG"))
    put(project / "added/day/old.jpg", encode("PNG"))
    with caplog.at_level("INFO"):
        add_images(project, [tmp_path / "day"])
    assert files(project) == ["day/good.jpg", "day/old.jpg", "old/a.jpg"]
    assert caplog.messages == [
        f"{cut}: damaged (image file is truncated (5 bytes not processed)); give the whole image; "
        "left out",
        f"copied 1 image to {project}/added; 1 image there already; 1 image left out",
    ]
    with pytest.raises(UserError, match="damaged"):  # named itself, it is a mistake
        add_images(project, [cut])


def test_a_second_add_waits_for_the_first(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = put(tmp_path / "one.png", encode("PNG"))
    path = project / ".dvc/tmp/lookalike-added.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with caplog.at_level("INFO"), FileLock(path) as first:
        adding = threading.Thread(target=add_images, args=(project, [image]))
        adding.start()
        deadline = time.monotonic() + 20
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert caplog.messages == ["another add or remove is running here; waiting for its end"]
        assert files(project) == ["old/a.jpg"]
        first.release()
        adding.join(20)
    assert files(project) == ["old/a.jpg", "one.png"]


def test_a_folder_of_added_images_is_removed_as_a_whole(project: Path) -> None:
    for name in ("day/a.jpg", "day/deep/b.jpg", "daylight/c.jpg"):
        put(project / "added" / name, encode("JPEG"))
    remove_images(project, ["added/day", "added/day/a.jpg"])
    assert files(project) == ["daylight/c.jpg", "old/a.jpg"]


def test_nothing_is_copied_to_where_it_is_not_searched(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project / "sub/pic.jpg", encode("PNG"))
    (project / "sub/inner").mkdir()
    monkeypatch.chdir(project / "sub/inner")
    add_images(project, [Path("..")])
    assert files(project) == ["old/a.jpg", "sub/pic.jpg"]
    for path in (project, Path("../.."), Path("/")):
        with pytest.raises(UserError) as caught:
            add_images(project, [path])
        assert str(caught.value) == (
            f"{path}: holds {project}/added, where images are copied to; allowed: other folders"
        )
    assert files(project) == ["old/a.jpg", "sub/pic.jpg"]


def test_only_added_images_are_removed(project: Path) -> None:
    put(project / "outside.jpg", encode("JPEG"))
    unknown = (
        *("images/a.jpg", "added/b.jpg", "added", "added/ol", "added/../outside.jpg", "old/a.jpg"),
        "added/README.md",
    )
    put(project / "elsewhere/b.jpg", encode("JPEG"))
    table = put(project / "added/b.parquet", b"")
    with pytest.raises(UserError) as caught:
        remove_images(project, ["added/b.parquet/x/y", "added/old/a.jpg"])
    assert str(caught.value) == (
        "added/b.parquet/x/y: a row of a Parquet file; allowed: image files; delete the row or the "
        "file yourself, and run: dvc repro index"
    )
    table.unlink()
    (project / "added/link").symlink_to(project / "elsewhere")
    with pytest.raises(UserError) as caught:
        remove_images(project, ["added/old/a.jpg", *unknown, "added/link/b.jpg"])
    assert caught.value.args == (
        *(
            f"{image_id}: not an added image; allowed: the image_id of an image in "
            f"{project}/added, as lookalike query prints it; an image with a label is dropped by a "
            "line of overrides.csv"
            for image_id in unknown
        ),
        f"added/link/b.jpg: behind a link out of {project}/added; allowed: a file in it; remove "
        "the link",
    )
    assert (project / "elsewhere/b.jpg").exists()
    (project / "added/link").unlink()
    assert files(project) == ["old/a.jpg"]
    remove_images(project, ["added/old/a.jpg"])
    assert files(project) == []
    assert (project / "ran").exists()


@pytest.mark.parametrize("source", ["archive.zip", "none", "absolute", "..", "."])
def test_images_elsewhere_are_not_touched(source: str, project: Path, tmp_path: Path) -> None:
    put(project / "archive.zip", b"")
    found = str(tmp_path) if source == "absolute" else source
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("source: added ", f"source: {found} ", 1))
    for run in (
        lambda: add_images(project, [project / "added/old/a.jpg"]),
        lambda: remove_images(project, ["added/old/a.jpg"]),
    ):
        with pytest.raises(UserError) as caught:
            run()
        assert str(caught.value) == (
            f"added.source: found '{found}'; allowed for add and remove: a folder in the project, "
            "such as added; change the images there yourself, and run: dvc repro index"
        )


def test_an_added_image_is_found_without_training_or_evaluation(
    first_run: Path, tmp_path: Path
) -> None:
    project = copy_clone(first_run, tmp_path / "project")
    skip_drawing(project)
    before = outputs(project)
    photo = put(tmp_path / "cup.png", encode("PNG"))

    def query() -> str:
        ran = run_lookalike(project, "query", str(photo), "--out", "queries")
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def change(*arguments: str) -> str:
        ran = run_module(project, "app.cli", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    told = change("add", str(photo))
    assert [line.split("'")[1] for line in told.splitlines() if line.startswith("Running")] == [
        *("added", "embed@baseline", "embed@finetuned", "index@baseline", "index@finetuned")
    ]
    changed = {
        each["path"]
        for name, after in outputs(project).items()
        for each, old in zip(after, before[name], strict=True)
        if each["md5"] != old["md5"]
    }
    assert changed == {"data/added/images", "data/added/catalog.parquet"} | {
        f"{folder}/added/{model}"
        for folder in ("embeddings", "index")
        for model in ("baseline", "finetuned")
    }
    [first, *_] = query().splitlines()[1:]
    assert first.split() == ["1", "1.0000", "(no", "label)", "added/cup.png"]

    change("remove", "added/cup.png")
    assert outputs(project) == before
    assert "added/cup.png" not in query()
