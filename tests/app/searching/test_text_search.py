"""Texts, and queries of several parts, searched by a model that was trained on such images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from app.commands.query import QueryOptions, query_photos
from app.searching.best_model import resolve_model
from app.searching.model_index import ModelIndex
from pipeline.data.tables import PHOTO_NEIGHBORS, read_table
from pipeline.errors import UserError
from tests.helpers.searchable import IMAGES, draw, index_again
from tests.helpers.tiny_clip import NAMES

pytestmark = pytest.mark.slow


def search(project: Path, out: Path, *photos: Path, **options: object) -> list[str]:
    """Return the classes of the neighbors that a query finds, best first."""
    chosen = QueryOptions(**({"model": "best", "only": (), "k": 4, "crop": "center"} | options))
    assert query_photos(project, photos, chosen, out=out)
    return [
        each
        for [each] in read_table(out / "neighbors.parquet", PHOTO_NEIGHBORS)["classes"].to_pylist()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_words_find_the_images_that_they_name(
    name: str, searchable_by_text: Path, tmp_path: Path
) -> None:
    assert search(searchable_by_text, tmp_path, texts=(name,)) == [name] * IMAGES


def test_a_text_beside_a_photo_changes_what_is_found(
    searchable_by_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(draw("red", "disc", 99))
    out = tmp_path / "out"
    assert set(search(searchable_by_text, out, photo)) == {"red disc"}
    both = search(searchable_by_text, out, photo, texts=("blue square",), k=8)
    assert set(both) >= {"red disc", "blue square"}
    plain = search(searchable_by_text, out, photo, k=40)
    without = search(searchable_by_text, out, photo, other_texts=("red square",), k=40)
    assert without.index("red square") > plain.index("red square")
    shown = capsys.readouterr().out
    assert f'{photo} + "blue square"' in shown.splitlines()
    assert f'{photo} − "red square"' in shown.splitlines()
    assert (out / "sheet.png").is_file()


def test_photos_together_are_one_query(searchable_by_text: Path, tmp_path: Path) -> None:
    photos = [tmp_path / f"{number}.jpg" for number in range(2)]
    for photo, color in zip(photos, ("red", "green"), strict=True):
        photo.write_bytes(draw(color, "disc", 99))
    found = search(searchable_by_text, tmp_path / "out", *photos, together=True, k=8)
    assert set(found) >= {"red disc", "green disc"}
    names = read_table(tmp_path / "out/neighbors.parquet", PHOTO_NEIGHBORS)["photo"].to_pylist()
    assert set(names) == {f"{photos[0]} + {photos[1]}"}


def test_a_threshold_of_images_says_nothing_of_words(
    searchable_by_text: Path, tmp_path: Path
) -> None:
    search(searchable_by_text, tmp_path, texts=("red disc",))
    matches = read_table(tmp_path / "neighbors.parquet", PHOTO_NEIGHBORS)["match"].to_pylist()
    assert matches == [None] * 4


def test_the_model_is_one_that_understands_text(
    searchable: Path, searchable_by_text: Path, tmp_path: Path
) -> None:
    chosen = resolve_model(searchable_by_text, "best", for_text=True)
    assert (chosen.name, chosen.because) == ("baseline", "the one that understands text")
    assert resolve_model(searchable_by_text, "best").name == "finetuned"
    with pytest.raises(UserError) as error:
        search(searchable, tmp_path, texts=("red",))
    assert str(error.value).startswith("no model of this project understands text; allowed: a ")
    with pytest.raises(UserError) as error:
        search(searchable_by_text, tmp_path, texts=("red",), model="finetuned")
    assert str(error.value) == (
        "model: found 'finetuned', which understands images alone; allowed with texts: a baseline "
        "whose backbone.name is one of open_clip"
    )
    assert not (tmp_path / "neighbors.parquet").exists()


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "PQ8x4"])
def test_parts_are_weighed_by_the_vectors_of_any_index_that_keeps_them(
    searchable_by_text: Path, tmp_path: Path, factory: str
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable_by_text, project)
    change_factory(project, factory)
    model_index = ModelIndex(project, "baseline")
    wanted = np.stack([model_index.embed_text(text) for text in ("red disc", "green disc")])
    found = model_index.search(wanted, 8)
    names = {each.image_id.partition("/")[0] for each in found}
    assert names >= {"red disc", "green disc"}


def test_an_index_that_keeps_no_vectors_takes_single_queries_alone(
    searchable_by_text: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable_by_text, project)
    change_factory(project, "PQ8x4fs")
    model_index = ModelIndex(project, "baseline")
    text = model_index.embed_text("red disc")
    assert len(model_index.search(text, 3)) == 3
    with pytest.raises(UserError) as error:
        model_index.search(np.stack([text, text]), 3)
    assert str(error.value) == (
        f"{project}/index/baseline: keeps no vectors, which a query of several parts is weighed "
        "by; allowed: one image or text, or another index.factory, such as auto"
    )


def change_factory(project: Path, factory: str) -> None:
    params = YAML().load(project / "params.yaml")
    params["index"]["factory"] = factory
    YAML().dump(params, project / "params.yaml")
    index_again(project, "baseline")
