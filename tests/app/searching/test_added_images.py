"""Added images are found beside those with labels, by the same distances."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.commands.query import QueryOptions, format_neighbors, query_photos
from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex, Neighbor
from app.searching.query_sheets import _neighbor_tile
from app.serving.api_schema import Override, SearchOptions
from app.serving.searcher import RefusedOverrideError, Searcher
from pipeline.data.embeddings import read_embeddings
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from tests.helpers.searchable import draw, embed_again, index_again, pack_added_images

NUMBERS = range(10, 15)


@pytest.fixture(scope="module")
def project(searchable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with five added images of red discs."""
    root = tmp_path_factory.mktemp("added") / "project"
    shutil.copytree(searchable, root)
    pack_added_images(
        root,
        [
            SourceImage(f"added/{number}.jpg", (), partial(draw, "red", "disc", number))
            for number in NUMBERS
        ],
    )
    for model in ("baseline", "finetuned"):
        embed_again(root, model)
        index_again(root, model)
    return root


@pytest.mark.slow
def test_results_are_those_of_one_ranking_of_all(project: Path) -> None:
    model_index = ModelIndex(project, "finetuned")
    folders = [project / "embeddings/finetuned", project / "embeddings/added/finetuned"]
    read = [read_embeddings(folder) for folder in folders]
    vector_of = {name: vector for ids, vectors in read for name, vector in zip(ids, vectors)}  # noqa: B905
    assert len(vector_of) == len(model_index.ids) == 40 + len(NUMBERS)
    for query in ("added/10.jpg", "red disc/0.jpg", "blue square/1.jpg"):
        scores = {name: float(vector_of[query] @ vector) for name, vector in vector_of.items()}
        del scores[query]
        expected = sorted(scores, key=lambda name: -scores[name])[:12]
        vector = model_index.read_vector(query)
        assert np.array_equal(vector, vector_of[query])
        found = model_index.search(vector, 12, exclude=query)
        assert [each.image_id for each in found] == expected
        assert [each.score for each in found] == pytest.approx(
            [scores[name] for name in expected], abs=1e-6
        )


def test_filters_hold_for_both(project: Path) -> None:
    model_index, catalog = ModelIndex(project, "finetuned"), Catalog(project)
    vector = model_index.read_vector("added/10.jpg")
    mask = catalog.mask_class("red disc", model_index.ids)
    found = model_index.search(vector, 60, allowed=mask)
    assert sorted(each.image_id for each in found) == [f"red disc/{n}.jpg" for n in range(4)]
    added_alone = np.array([name.startswith("added/") for name in model_index.ids])
    found = model_index.search(vector, 60, allowed=added_alone, exclude="added/10.jpg")
    assert sorted(each.image_id for each in found) == [f"added/{n}.jpg" for n in NUMBERS[1:]]
    assert not catalog.mask_gallery(model_index.ids)[added_alone].any()


def test_an_added_image_has_no_class_and_its_relevance_is_not_known(project: Path) -> None:
    catalog = Catalog(project)
    assert catalog.classes_of("added/10.jpg") == []
    assert catalog.group_of("added/10.jpg") is None
    assert catalog.size_of("added/10.jpg") == catalog.size_of("red disc/0.jpg")
    assert catalog.is_relevant("added/10.jpg", "red disc/0.jpg") is None
    assert catalog.is_relevant("red disc/0.jpg", "added/10.jpg") is None
    assert catalog.is_relevant("red disc/0.jpg", "red disc/1.jpg") is True
    assert catalog.images.read("added/10.jpg") == draw("red", "disc", 10)
    neighbors = ModelIndex(project, "finetuned").search(np.ones(16, np.float32), 45)
    lines = format_neighbors(neighbors, catalog, frozenset()).splitlines()
    assert sum("(no label)" in line for line in lines) == len(NUMBERS)


def test_a_photo_finds_its_copy_among_the_added(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(draw("red", "disc", 12))
    options = QueryOptions(model="finetuned", only=(), k=3, crop="center")
    assert query_photos(project, [photo], options, out=tmp_path / "out")
    first = capsys.readouterr().out.splitlines()[1]
    assert first.split()[:2] == ["1", "1.0000"]
    assert first.split()[2:] == ["(no", "label)", "added/12.jpg"]
    assert (tmp_path / "out/sheet.png").is_file()


def test_the_sheet_names_an_added_image_by_its_file(project: Path) -> None:
    captions = [
        _neighbor_tile(Neighbor(image_id, 0.5), Catalog(project)).name
        for image_id in ("added/10.jpg", "red disc/0.jpg")
    ]
    assert captions == ["10.jpg", "red disc"]


def test_the_search_page_searches_with_and_for_added_images(project: Path) -> None:
    searcher = Searcher(project, ["baseline", "finetuned"])
    searcher.require_all_images()
    assert searcher.choices.image_count == 40 + len(NUMBERS)
    response = searcher.search_image("added/11.jpg", SearchOptions(k=45))
    for model in response.models:
        assert len(model.neighbors) == 44
        assert {each.relevant for each in model.neighbors} == {None}
        assert model.relevant_count is None
    response = searcher.search_image("red disc/0.jpg", SearchOptions(k=45))
    for model in response.models:
        unknown = [each.image_id for each in model.neighbors if each.relevant is None]
        assert sorted(unknown) == [f"added/{number}.jpg" for number in NUMBERS]
        relevant = [each.image_id for each in model.neighbors if each.relevant]
        assert model.relevant_count == len(relevant) == 3
    assert searcher.read_image("added/14.jpg") == draw("red", "disc", 14)


def test_an_added_image_has_no_class_to_correct(project: Path, tmp_path: Path) -> None:
    searcher = Searcher(project, ["finetuned"])
    with pytest.raises(RefusedOverrideError) as caught:
        searcher.override(
            Override(image_id="added/10.jpg", action="drop", label=""), tmp_path / "overrides.csv"
        )
    assert str(caught.value) == (
        "image_id: found 'added/10.jpg', an added image; allowed: images with a label; take it "
        "away with lookalike remove"
    )
    assert not (tmp_path / "overrides.csv").exists()


def test_an_index_without_the_added_images_is_refused(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root)
    shutil.rmtree(root / "index/added/finetuned")
    with pytest.raises(UserError) as caught:
        ModelIndex(root, "finetuned")
    assert str(caught.value).startswith(f"{root}/index/added/finetuned/ids.parquet: no such file")
    shutil.copytree(project / "index/added/baseline", root / "index/added/finetuned")
    with pytest.raises(UserError, match="made by another model than"):
        ModelIndex(root, "finetuned")


def test_what_is_gone_while_its_index_is_there_is_told(searchable: Path, tmp_path: Path) -> None:
    """As where the stage `added` has failed: DVC has removed what it made before."""
    root = tmp_path / "project"
    shutil.copytree(searchable, root)
    shutil.rmtree(root / "data/added")
    for open_project in (Catalog, lambda root: ModelIndex(root, "finetuned")):
        with pytest.raises(UserError) as raised:
            open_project(root)
        assert str(raised.value) == (
            f"{root}/data/added/catalog.parquet: no such file, though index/added is there: the "
            "stage `added` is running, or has failed; wait for it, or bring back what was there "
            "before: dvc checkout"
        )
    shutil.rmtree(root / "index/added")  # a project without added images
    assert len(Catalog(root).images.ids) == 40
