"""`lookalike query` from its command line, and its parts: what is printed, drawn and written."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from app.commands.query import NO_THRESHOLD, QueryOptions, format_neighbors, query_photos
from app.searching.best_model import list_best_first, resolve_model
from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex, Neighbor
from app.searching.query_sheets import (
    MAX_ROWS,
    MAX_SHEET_PIXELS,
    MAX_SHEET_WIDTH,
    PhotoNeighbors,
    _photo_tile,
    draw_sheets,
    fit_tile,
)
from app.searching.untrusted_images import read_photo
from pipeline.data.decoding import FORMAT_NAMES
from pipeline.data.tables import PHOTO_NEIGHBORS, read_table
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.errors import UserError
from pipeline.figures.palette import INK, OTHER
from pipeline.figures.sheet_tiles import FRAME, MARGIN, PAPER
from tests.helpers.clone import change_params
from tests.helpers.processes import run_lookalike, run_module
from tests.helpers.searchable import truncate_large_png, write_threshold

pytestmark = pytest.mark.slow

RESULTS = ["neighbors.parquet", "sheet.png"]


@pytest.fixture(scope="module")
def catalog(searchable: Path) -> Catalog:
    return Catalog(searchable)


@pytest.fixture
def photos(catalog: Catalog, searchable: Path, tmp_path: Path) -> Path:
    """A folder of two images of the gallery, and a file that is not an image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image_id in enumerate(ModelIndex(searchable, "finetuned").ids[:2]):
        (folder / f"{number}.jpg").write_bytes(catalog.images.read(image_id))
    (folder / "bad.jpg").write_bytes(b"nothing")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_names_of_any_bytes_are_kept_as_text(
    searchable: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = photos / os.fsdecode(b"\xff a\nb.jpg")
    shutil.copy(photos / "0.jpg", odd)
    out = tmp_path / "out"
    assert query(searchable, odd, out=out, k=1)
    shown = f"{photos}/\\udcff a\\nb.jpg"
    assert read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS)["photo"].to_pylist() == [shown]
    assert shown in capsys.readouterr().out.splitlines()


def test_photos_that_can_be_read_are_searched_and_others_logged(
    searchable: Path, photos: Path, catalog: Catalog, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = run_module(searchable, "app.cli", "query", str(photos), "-k", "3", "--out", str(out))
    assert ran.returncode == 1, ran.stderr
    logged = ran.stderr.splitlines()
    assert logged.pop(0) == ("query: searching 40 images with the model finetuned (it is a test)")
    assert logged.pop(0) == f"query: {NO_THRESHOLD}"
    assert logged[0] == f"query: {photos}/bad.jpg: not an image; allowed: {FORMAT_NAMES}"
    assert re.fullmatch(
        r"query: start-up \d+\.\d s; 2 queries: \d+\.\d ms to read, \d+\.\d ms to embed, "
        r"\d+\.\d ms to search each \(median\)",
        logged[1],
    )
    assert logged[2:] == [f"query: wrote {out}/sheet.png, {out}/neighbors.parquet"]
    rows = read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS).to_pylist()
    ids = ModelIndex(searchable, "finetuned").ids
    assert [(row["photo"], row["rank"]) for row in rows] == [
        (f"{photos}/{number}.jpg", rank) for number in (0, 1) for rank in (1, 2, 3)
    ]
    assert [row["image_id"] for row in rows if row["rank"] == 1] == ids[:2]
    lines = ran.stdout.splitlines()
    assert lines[0] == f"{photos}/0.jpg"
    first, classes = rows[0], ", ".join(rows[0]["classes"])
    assert lines[1].removesuffix("  (trained on)").split() == [
        "1",
        f"{first['score']:.4f}",
        *classes.split(),
        *ids[0].split(),
    ]
    trained_on = [row["trained_on"] for row in rows]
    assert [line.endswith("  (trained on)") for line in (*lines[1:4], *lines[6:9])] == trained_on
    assert trained_on == [row["image_id"] in catalog.train_ids for row in rows]
    assert (lines[4], lines[5], lines[9:]) == ("", f"{photos}/1.jpg", [""])
    assert files(out) == RESULTS
    assert Image.open(out / "sheet.png").width > 4 * 160


def test_a_missing_index_is_an_error_of_one_line(
    searchable: Path, photos: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(searchable, clone, ignore=shutil.ignore_patterns("index"))
    ran = run_lookalike(clone, "query", str(photos))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "lookalike: index/finetuned/ids.parquet: no such file or folder; bring back what "
        "the last run made: dvc checkout, make it: dvc repro, "
        "or if the project has a remote, fetch it: dvc pull\n"
    )
    assert not (clone / "queries").exists()


def query(searchable: Path, *photos: Path, out: Path, **options: object) -> bool:
    chosen = QueryOptions(
        **({"model": "finetuned", "only": (), "k": 3, "crop": "center"} | options)
    )
    return query_photos(searchable, photos, chosen, out=out)


def found(out: Path) -> list[str]:
    ids: list[str] = read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS)["image_id"].to_pylist()
    return ids


def test_all_images_are_searched_unless_filters_say_which(
    searchable: Path, photos: Path, catalog: Catalog, tmp_path: Path
) -> None:
    def search(*only: str) -> list[str]:
        out = tmp_path / "-".join(["out", *only]).replace(" ", "")
        assert query(searchable, photos / "0.jpg", out=out, k=100, only=only)
        return found(out)

    assert len(search()) == 40
    gallery = search("gallery")
    assert {*search()} - catalog.train_ids >= {*gallery}
    assert 0 < len(gallery) < 40
    assert {catalog.group_of(image_id) for image_id in search("group=disc")} == {"disc"}
    both = search("group=disc", "class=red disc")
    assert len(both) == 4
    assert {name for image_id in both for name in catalog.classes_of(image_id)} == {"red disc"}


@pytest.mark.parametrize(
    ("only", "line"),
    [
        (("train",), "--only: found 'train'; allowed: gallery, class=NAME, group=NAME"),
        (
            ("class=red disk",),
            "class: found 'red disk'; allowed: 'black disc', 'black square', 'blue disc', ",
        ),
        (
            ("class=red disc", "group=square"),
            "--only: no image passes class=red disc and group=square; allowed: filters that fit",
        ),
    ],
)
def test_a_filter_without_images_is_an_error(
    only: tuple[str, ...], line: str, searchable: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        query(searchable, photos / "0.jpg", out=tmp_path / "out", only=only)
    assert str(error.value).startswith(line)


def test_the_best_model_is_the_one_that_training_recorded(
    searchable: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searchable, copy)
    write_record(copy / "models/finetuned", TrainingRecord("baseline", "it is no better", 3, {}))
    with caplog.at_level(logging.INFO):
        assert query(copy, photos / "0.jpg", out=tmp_path / "out", model="best")
    assert caplog.messages[0] == ("searching 40 images with the model baseline (it is no better)")
    rows = read_table(tmp_path / "out/neighbors.parquet", PHOTO_NEIGHBORS)
    assert rows["trained_on"].to_pylist() == [False] * 3  # the baseline was trained on nothing
    assert list_best_first(copy) == ["baseline", "finetuned"]
    assert list_best_first(searchable) == ["finetuned", "baseline"]
    (copy / "models/finetuned/training.json").write_text("[")
    with pytest.raises(UserError, match="not the record of a training"):
        resolve_model(copy, "best")


def test_of_several_models_the_best_is_the_one_that_validated_best(
    searchable: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searchable, copy)
    change_params(
        copy,
        {"models": ["baseline", "a", "finetuned", "b", "unmade"]},
    )
    records = {"finetuned": 0.7, "a": 0.8, "b": 0.9}
    for name, val_map in records.items():
        for part in ("models", "embeddings", "index"):
            (copy / part / name).mkdir(exist_ok=True)
        record = TrainingRecord(name, f"{name} is better", 3, {}, val_map)
        write_record(copy / "models" / name, record)
    (copy / "models/unmade").mkdir()  # without an index yet
    write_record(copy / "models/unmade", TrainingRecord("unmade", "it is better", 3, {}, 0.99))
    found = resolve_model(copy, "best")
    assert (found.name, found.because) == ("b", "the best of 3 on validation: b is better")
    assert list_best_first(copy) == ["b", "baseline", "a", "finetuned"]
    write_record(copy / "models/b", TrainingRecord("baseline", "b is worse", 3, {}, 0.95))
    assert resolve_model(copy, "best").name == "a"
    write_record(copy / "models/a", TrainingRecord("baseline", "a is worse", 3, {}, 0.95))
    assert resolve_model(copy, "best").because == "finetuned is better"
    write_record(copy / "models/finetuned", TrainingRecord("baseline", "worse", 3, {}, 0.9))
    found = resolve_model(copy, "best")
    assert (found.name, found.because) == ("baseline", "worse")


@pytest.mark.parametrize("only", [(), ("class=purple square",)])
@pytest.mark.parametrize(("threshold", "match"), [(0.9999, True), (1.1, False), (None, None)])
def test_a_photo_without_a_similar_image_is_told(
    threshold: float | None,
    match: bool | None,
    only: tuple[str, ...],
    searchable: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searchable, copy)
    write_threshold(copy, "finetuned", threshold)
    # The photo is in the catalog: it is its own match, also where a filter excludes it.
    assert query(copy, photos / "0.jpg", out=tmp_path / "out", only=only, k=40)
    line = "      perhaps not in the catalog: no score above 1.1000 (match_threshold)"
    assert (line in capsys.readouterr().out.splitlines()) is (match is False)
    rows = read_table(tmp_path / "out/neighbors.parquet", PHOTO_NEIGHBORS)
    assert set(rows["match"].to_pylist()) == {match}


@pytest.mark.filterwarnings("error")
def test_a_large_photo_within_the_limits_gives_no_warning(
    searchable: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = photos / "large.png"
    large.write_bytes(truncate_large_png())
    assert not query(searchable, large, out=tmp_path / "out")
    assert caplog.messages == [f"{large}: damaged (image file is truncated); give the whole image"]


def test_a_large_jpeg_is_embedded_small_and_shown_whole(
    searchable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[PhotoNeighbors] = []

    def noted(photos: list[PhotoNeighbors], *others: Any, **options: Any) -> Any:
        drawn.extend(photos)
        return draw_sheets(photos, *others, **options)

    monkeypatch.setattr("app.commands.query.draw_sheets", noted)
    photo, out = tmp_path / "a.jpg", tmp_path / "out"
    Image.fromarray(load_sample_images().images[0]).save(photo)
    assert query(searchable, photo, out=out, k=1)
    index = ModelIndex(searchable, "finetuned")
    small, whole = read_photo(photo, side=index.least_side), read_photo(photo)
    assert (max(small.size) < 640, whole.size) == (True, (640, 427))
    [score] = read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS)["score"].to_pylist()
    scores = [index.search(index.embed(image), 1)[0].score for image in (small, whole)]
    assert score == pytest.approx(scores[0], abs=1e-6)
    assert abs(scores[0] - scores[1]) > 1e-5
    assert [each.image.size for each in drawn] == [(640, 427)]


@pytest.mark.parametrize("model", ["baseline", "finetuned"])
def test_only_data_model_and_index_are_needed(
    searchable: Path, photos: Path, tmp_path: Path, model: str
) -> None:
    clone = tmp_path / "clone"
    for name in ("data", f"models/{model}", f"index/{model}", f"index/added/{model}"):
        shutil.copytree(searchable / name, clone / name)
    assert query(clone, photos / "0.jpg", out=tmp_path / "out", model=model)
    assert files(tmp_path / "out") == RESULTS


def test_nothing_is_written_where_no_photo_can_be_read(
    searchable: Path,
    photos: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    assert not query(searchable, photos / "bad.jpg", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    _, untold, bad, last = caplog.messages
    assert untold == NO_THRESHOLD
    assert bad.startswith(f"{photos}/bad.jpg: not an image")
    assert re.fullmatch(r"start-up \d+\.\d s; 0 queries", last)
    assert capsys.readouterr().out == ""


def test_an_earlier_query_is_replaced_and_other_files_are_left(
    searchable: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("app.searching.query_sheets.MAX_SHEET_PIXELS", 1)  # one photo a sheet
    assert query(searchable, photos / "0.jpg", photos / "1.jpg", out=out)
    assert files(out) == ["neighbors.parquet", "sheet_001.png", "sheet_002.png"]
    (out / "notes.txt").write_text("mine")
    assert query(searchable, photos / "0.jpg", out=out)
    assert files(out) == ["neighbors.parquet", "notes.txt", "sheet.png"]
    assert len(read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS)) == 3


def test_a_photo_that_is_not_there_is_an_error_before_the_model_is_loaded(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:  # there is no model
        query(tmp_path, photos / "0.jpg", photos / "none.jpg", out=tmp_path / "out")
    assert str(error.value) == (
        f"{photos}/none.jpg: no such file; allowed: image files, and folders of them"
    )


def test_the_details_of_the_log_name_the_index(
    searchable: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assert query(searchable, photos / "0.jpg", out=tmp_path / "out")
    assert re.fullmatch(
        rf"{searchable}/index/finetuned: IndexFlatIP of \d+ images in 16 dimensions, by cosine; "
        r"loaded on \w+ in \d+\.\d s",
        next(text for text in caplog.messages if "dimensions" in text),
    )


@pytest.mark.parametrize("name", ["sheet.png", "sheet_001.png", "neighbors.parquet"])
def test_a_file_that_no_query_wrote_is_not_overwritten(
    searchable: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError) as error:
        query(searchable, photos / "0.jpg", out=tmp_path)
    assert str(error.value) == (
        f"{tmp_path / name}: no query wrote it, and it would be overwritten; move it, or choose "
        "another folder: --out"
    )
    assert (tmp_path / name).read_text() == "mine"


def test_an_output_folder_that_cannot_be_made_is_an_error(
    searchable: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for out, message in {
        file: f"{file}: found a file; allowed: a folder, or nothing; choose --out",
        file / "deep": f"{file}/deep: cannot be written (Not a directory); choose another "
        "folder: --out",
    }.items():
        with pytest.raises(UserError) as error:
            query(searchable, photos / "0.jpg", out=out)
        assert str(error.value) == message


def test_an_interrupted_query_leaves_the_earlier_one_unchanged(
    searchable: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert query(searchable, photos / "0.jpg", out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.output_folder.write_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        query(searchable, photos / "1.jpg", out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_wrong_crop_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        query(tmp_path, tmp_path, out=tmp_path, crop="centre")
    assert str(error.value) == (
        "--crop: found 'centre'; allowed: center, none; did you mean 'center'?"
    )


def test_lines_of_neighbors_are_aligned(catalog: Catalog) -> None:
    ids = ["red disc/0.jpg", "purple square/1.jpg"]
    neighbors = [
        Neighbor(image_id, score) for image_id, score in zip(ids, (0.5, -12.25), strict=True)
    ]
    assert format_neighbors(neighbors, catalog, {ids[0]}).splitlines() == [
        "   1    0.5000  red disc       red disc/0.jpg  (trained on)",
        "   2  -12.2500  purple square  purple square/1.jpg",
    ]
    assert format_neighbors([], catalog, set()) == ""


def photo_neighbors(catalog: Catalog, count: int, *, neighbors: int) -> list[PhotoNeighbors]:
    found = [Neighbor(image_id, 0.5) for image_id in catalog.images.ids[:neighbors]]
    photo = Image.new("RGB", (100, 50), "orange")
    names = [f"{number}.jpg" for number in range(count)]
    return [PhotoNeighbors(f"photos/{name}", name, photo, found) for name in names]


def test_a_sheet_frames_the_photo_in_ink_and_its_neighbors_in_a_neutral_color(
    catalog: Catalog,
) -> None:
    (sheet,) = draw_sheets(photo_neighbors(catalog, 1, neighbors=2), catalog, first=1, model="m")
    colors = {color for _, color in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {rgb(INK), rgb(OTHER), rgb(PAPER)} < colors
    middle = sheet.height // 2
    across = [sheet.getpixel((MARGIN + x, middle)) for x in (1, FRAME + 1)]
    assert across[0] == rgb(INK) != across[1]


@pytest.mark.parametrize("match", [True, False, None])
def test_a_sheet_says_below_a_photo_that_it_has_no_match(match: bool | None) -> None:
    photo = PhotoNeighbors("b/a.jpg", "a.jpg", Image.new("RGB", (100, 50)), [], match)
    assert _photo_tile("key", photo).note == "100 × 50" + ", no match" * (match is False)


def rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def test_small_images_are_enlarged_to_160_pixels_and_large_ones_fill_their_tile() -> None:
    def width_of(side: int, size: int) -> int:
        tile = np.asarray(fit_tile(Image.new("RGB", (side, side), "red"), size))
        return int((tile[size // 2] == [255, 0, 0]).all(axis=1).sum())

    assert [width_of(side, 300) for side in (40, 160, 200, 300, 900)] == [160, 160, 200, 300, 300]
    assert width_of(40, 120) == 120
    assert fit_tile(Image.new("RGB", (9000, 3)), 200).size == (200, 200)


def test_sheets_stay_within_their_limits(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalog, "size_of", lambda *_: (4000, 3000))
    monkeypatch.setattr("app.searching.query_sheets.MAX_SHEET_PIXELS", MAX_SHEET_PIXELS // 4)
    sheets = list(
        draw_sheets(photo_neighbors(catalog, 3, neighbors=10), catalog, first=1, model="m")
    )
    assert len(sheets) == 3  # 512 pixels an image
    assert {sheet.width // 11 // 512 for sheet in sheets} == {1}
    monkeypatch.setattr("app.searching.query_sheets.MAX_SHEET_WIDTH", MAX_SHEET_WIDTH // 8)
    narrow = list(
        draw_sheets(photo_neighbors(catalog, 1, neighbors=40), catalog, first=1, model="m")
    )
    assert len(narrow) == 1
    assert narrow[0].width <= MAX_SHEET_WIDTH // 8
    assert MAX_ROWS == 20
