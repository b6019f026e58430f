"""The index is replaced or removed while it is searched, as `dvc repro` beside a server does."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from app.serving.current_searcher import LOOK_SECONDS, CurrentSearcher, require_one_run
from app.serving.searcher import Searcher
from app.serving.server import build_app
from pipeline.errors import UserError
from tests.helpers.browser import opened_browser, opened_page
from tests.helpers.searchable import build, draw, embed_again, index_again, write_random_models
from tests.helpers.serving import client_of, serving

pytestmark = pytest.mark.slow

MODELS = ("baseline", "finetuned")
KEPT = (
    "the index on disk is another one, but not whole, as while dvc repro runs; searches go on in "
    "the one that was loaded, until it is ({})"
)
TAKEN = "a new index: {} images are searched now"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of fewer images: of four colors, with other models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.helpers.searchable.COLORS", ("red", "green", "blue", "black"))
        folder = build(tmp_path_factory.mktemp("other") / "project")
    write_random_models(folder, seed=5)
    for model in MODELS:
        embed_again(folder, model)
        index_again(folder, model)
    return folder


@pytest.fixture
def project(searchable: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searchable, tmp_path / "project"))


@pytest.fixture
def current(project: Path, caplog: pytest.LogCaptureFixture) -> CurrentSearcher:
    caplog.set_level(logging.INFO, logger="app.serving.current_searcher")
    return CurrentSearcher(project, MODELS)


@pytest.fixture
def client(current: CurrentSearcher) -> Iterator[httpx.Client]:
    with client_of(build_app(current)) as opened:
        yield opened


def replace(project: Path, other: Path, *names: str) -> None:
    """Replace folders by those of another run, as DVC does: removed, then new files."""
    for name in names:
        shutil.rmtree(project / name)
        if (other / name).exists():
            shutil.copytree(other / name, project / name)


def answers(client: httpx.Client) -> tuple[object, ...]:
    """Return what each kind of request answers, without times."""
    photo = client.post("/api/search?k=50", content=draw("red", "disc", 9)).raise_for_status()
    image = client.get("/api/search/red%20disc%2F1.jpg?k=50&crop=none").raise_for_status()
    shown = client.get("/api/images/red%20disc%2F1.jpg").raise_for_status().content
    neighbors = [
        [(each["image_id"], each["score"]) for each in model["neighbors"]]
        for response in (photo, image)
        for model in response.json()["models"]
    ]
    return client.get("/api/choices").json(), neighbors, shown


def look_twice(current: CurrentSearcher) -> None:
    """What changes is taken up when it has stayed as it is since the last look."""
    current.look()
    current.look()


FOLDERS = ("data", "models", "embeddings", "index")


def test_nothing_is_loaded_again_where_nothing_changes(current: CurrentSearcher) -> None:
    before = current()
    look_twice(current)
    assert current() is before


@pytest.mark.parametrize("removed", [*((name,) for name in FOLDERS), FOLDERS])
def test_what_is_removed_is_still_searched_and_said_once(
    project: Path,
    current: CurrentSearcher,
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    removed: tuple[str, ...],
) -> None:
    before = answers(client)
    for name in removed:
        shutil.rmtree(project / name)
    for _ in range(3):
        look_twice(current)
    assert answers(client) == before
    (line,) = (each for each in caplog.messages if each.startswith("the index on disk"))
    assert "no such file" in line


def test_a_new_index_is_taken_up_when_all_of_it_is_there(
    project: Path,
    other: Path,
    current: CurrentSearcher,
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After each of the four folders but the last, what is on disk is of two runs."""
    before = answers(client)
    for name in FOLDERS[:-1]:
        replace(project, other, name)
        look_twice(current)
        assert answers(client) == before, name
    replace(project, other, FOLDERS[-1])
    current.look()
    assert answers(client) == before  # it may still be written
    current.look()
    with client_of(build_app(CurrentSearcher(other, MODELS))) as fresh:
        new, expected = answers(client), answers(fresh)
    assert new[1:] == expected[1:]
    assert new[0] == expected[0] | {"version": new[0]["version"]}  # type: ignore[index,operator]
    assert (before[0]["image_count"], new[0]["image_count"]) == (40, 32)  # type: ignore[index]
    said = [each for each in caplog.messages if "index" in each]
    assert [each[:19] for each in said] == ["the index on disk i", "a new index: 32 ima"]
    assert said[1] == TAKEN.format(32)


def test_images_that_no_model_has_seen_are_of_a_run_that_goes_on(
    project: Path, other: Path, current: CurrentSearcher, caplog: pytest.LogCaptureFixture
) -> None:
    before = current()
    for name in ("images", "catalog.parquet", "splits.parquet", "classes.parquet"):
        path = project / "data" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        source = other / "data" / name
        shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    look_twice(current)
    assert current() is before
    assert len([each for each in caplog.messages if each.startswith("the index on disk")]) == 1


def test_files_that_change_while_they_are_read_are_read_again(
    project: Path, current: CurrentSearcher, caplog: pytest.LogCaptureFixture
) -> None:
    before, load = current(), current._load

    def load_slowly(*arguments: Any) -> Searcher:
        loaded = load(*arguments)
        (project / "index/baseline/index.faiss").touch()
        return loaded

    (project / "index/baseline/index.faiss").touch()
    current._load = load_slowly
    look_twice(current)
    assert current() is before
    assert caplog.messages[-1] == KEPT.format("its files changed while they were read")
    current._load = load
    look_twice(current)
    assert current() is not before


def test_a_failure_of_any_kind_keeps_what_is_there(
    project: Path, current: CurrentSearcher, caplog: pytest.LogCaptureFixture
) -> None:
    before = current()
    (project / "models/baseline/model.safetensors").write_bytes(b"half")
    (project / "data/catalog.parquet").write_bytes(b"")
    look_twice(current)
    assert current() is before
    assert len(caplog.messages) == 1


LOCKED = {
    "stages": {
        "download": {"outs": [{"path": "data/catalog.parquet", "md5": "a", "size": 3}]},
        "embed": {
            "deps": [{"path": "data/catalog.parquet", "md5": "a"}, {"path": "code", "md5": "x"}],
            "outs": [{"path": "embeddings/baseline", "md5": "b", "size": 4}],
        },
    }
}


@pytest.mark.parametrize(
    ("text", "size", "line"),
    [
        ("", 3, None),
        (
            '"md5": "a"}, {"path": "code"',
            3,
            "embeddings/baseline: made of what has changed since",
        ),
        (
            "",
            2,
            "data/catalog.parquet: found 2 bytes; dvc.lock has 3; run: dvc repro, or dvc checkout",
        ),
    ],
)
def test_the_lock_tells_whether_all_is_of_one_run(
    tmp_path: Path, text: str, size: int, line: str | None
) -> None:
    require_one_run(tmp_path, ["baseline"])  # without a lock, nothing is known
    locked = json.dumps(LOCKED)
    (tmp_path / "dvc.lock").write_text(locked.replace(text, text.replace('"a"', '"new"')))
    for name, content in {"data/catalog.parquet": size, "embeddings/baseline": 4}.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(bytes(content))
    if line is None:
        require_one_run(tmp_path, ["baseline"])
        return
    with pytest.raises(UserError) as error:
        require_one_run(tmp_path, ["baseline"])
    assert str(error.value) == line


def test_it_looks_by_itself_while_it_is_watched(
    project: Path, other: Path, current: CurrentSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LOOK_SECONDS == 2.0
    monkeypatch.setattr("app.serving.current_searcher.LOOK_SECONDS", 0.01)
    before = current()
    end = current.watch()
    try:
        replace(project, other, *FOLDERS)
        for _ in range(3_000):
            if current() is not before:
                break
            end.wait(0.02)
    finally:
        end.set()
    assert current().choices.image_count == 32


@pytest.mark.browser
def test_an_open_page_goes_on_with_the_new_index(
    project: Path, other: Path, current: CurrentSearcher
) -> None:
    with (
        serving(build_app(current)) as address,
        opened_browser() as browser,
        opened_page(browser) as page,
    ):
        page.goto(f"{address}/?image=red+disc%2F1.jpg")
        expect(page.locator("#indexed")).to_contain_text("40 images")
        replace(project, other, *FOLDERS)
        look_twice(current)
        page.get_by_label("Only this class").fill("red square")
        page.keyboard.press("Enter")
        expect(page.locator("#indexed")).to_contain_text("32 images")
        expect(page.locator("#columns img").first).to_be_visible()
        assert page.locator("#classes option").count() == 8
        assert page.locator("#group option").count() == 3
