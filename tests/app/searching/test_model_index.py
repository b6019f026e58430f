"""A model with its index: what it finds, and each of its errors."""

import io
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex
from app.searching.untrusted_images import read_photo
from pipeline.data.embeddings import read_embeddings, read_lineage, write_embeddings
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from pipeline.index.build import read_index, write_index
from pipeline.models.embed_images import embed_images
from pipeline.models.embedder import load_embedder
from tests.helpers.packer import Packer
from tests.helpers.searchable import build, draw, embed_again, index_again, write_random_models

pytestmark = pytest.mark.slow

MAKE_IT = (
    "bring back what the last run made: dvc checkout, make it: dvc repro, or if the project has a "
    "remote, fetch it: dvc pull"
)


@pytest.fixture(scope="module", params=["baseline", "finetuned"])
def model_index(searchable: Path, request: pytest.FixtureRequest) -> ModelIndex:
    return ModelIndex(searchable, request.param)


@pytest.fixture(scope="module")
def catalog(searchable: Path) -> Catalog:
    return Catalog(searchable)


@pytest.fixture
def copy(searchable: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(searchable, tmp_path / "project")


def test_a_photo_is_embedded_as_the_stage_embeds_it(
    model_index: ModelIndex, catalog: Catalog
) -> None:
    for image_id in catalog.queries[:4]:
        vector = model_index.embed(catalog.images.decode(image_id))
        assert vector.dtype == np.float32
        assert vector == pytest.approx(model_index.read_vector(image_id), abs=1e-5)


def test_a_large_jpeg_is_embedded_as_the_stage_embeds_it(
    model_index: ModelIndex, tmp_path: Path
) -> None:
    photo = tmp_path / "a.jpg"
    Image.fromarray(load_sample_images().images[0]).save(photo)
    packer = Packer(tmp_path / "images")
    packer.add("a", photo.read_bytes())
    packer.close()
    embedder = load_embedder(model_index._model_dir)
    [expected] = embed_images(
        embedder,
        PackedImages(tmp_path / "images"),
        ["a"],
        batch_size=1,
        precision=torch.float32,
        workers=0,
        device=torch.device("cpu"),
    )
    found = model_index.embed(read_photo(photo, side=model_index.least_side))
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(model_index.embed(read_photo(photo)) - expected).max() > 1e-4


def test_the_top_hit_of_a_gallery_image_is_that_image(
    model_index: ModelIndex, catalog: Catalog
) -> None:
    for image_id in model_index.ids[:6]:
        top_hit = model_index.search(model_index.embed(catalog.images.decode(image_id)), 1)[0]
        assert top_hit.image_id == image_id
        assert top_hit.score == pytest.approx(1, abs=1e-5)


def test_neighbors_are_those_of_a_plain_sort(model_index: ModelIndex, searchable: Path) -> None:
    index, ids = read_index(searchable / "index" / model_index.model)
    gallery = index.reconstruct_n(0, len(ids))
    query = model_index.read_vector(ids[3])
    scores = gallery @ query / np.linalg.norm(query)
    order = [int(row) for row in np.argsort(-scores, kind="stable") if row != 3]
    allowed = np.arange(len(ids)) % 2 == 0
    for mask in (None, allowed):
        rows = [row for row in order if mask is None or mask[row]][:5]
        found = model_index.search(query, 5, allowed=mask, exclude=ids[3])
        assert [neighbor.image_id for neighbor in found] == [ids[row] for row in rows]
        assert [neighbor.score for neighbor in found] == pytest.approx(scores[rows], abs=1e-6)
    assert allowed.sum() == 20  # the mask of the caller is not changed


def test_there_are_no_more_neighbors_than_allowed_images(model_index: ModelIndex) -> None:
    query = model_index.read_vector(model_index.ids[0])
    assert len(model_index.search(query, 100)) == len(model_index.ids)
    assert (
        len(model_index.search(query, 100, exclude=model_index.ids[0])) == len(model_index.ids) - 1
    )
    assert model_index.search(query, 5, allowed=np.zeros(len(model_index.ids), bool)) == []


def test_the_whole_image_has_another_embedding_than_its_centre(model_index: ModelIndex) -> None:
    wide = Image.new("RGB", (80, 40), "white")
    wide.paste("red", (0, 0, 15, 40))
    centre, whole = (model_index.embed(wide, crop=crop) for crop in ("center", "none"))
    assert centre != pytest.approx(whole, abs=1e-4)
    square = wide.crop((0, 0, 40, 40))
    assert model_index.embed(square) == pytest.approx(
        model_index.embed(square, crop="none"), abs=1e-6
    )
    with pytest.raises(UserError) as error:
        model_index.embed(wide, crop="centre")
    assert str(error.value) == (
        "crop: found 'centre'; allowed: center, none; did you mean 'center'?"
    )


def test_many_threads_get_the_results_of_one(model_index: ModelIndex, catalog: Catalog) -> None:
    def search(image_id: str) -> list[str]:
        vector = model_index.embed(catalog.images.decode(image_id))
        known = model_index.search(model_index.read_vector(image_id), 5)
        return [neighbor.image_id for neighbor in model_index.search(vector, 5) + known]

    queries = catalog.queries * 3
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(search, queries))
    assert together == [search(image_id) for image_id in queries]


def test_an_index_with_hflip_is_searched_with_hflip(tmp_path: Path) -> None:
    # The lineage of the index counts, not params.yaml, which may have changed since.
    project = build(tmp_path / "project", embed__hflip=True)
    (project / "params.yaml").unlink()
    model_index, catalog = ModelIndex(project, "finetuned"), Catalog(project)
    image = catalog.images.decode(catalog.queries[0])
    vector = model_index.embed(image)
    assert vector == pytest.approx(model_index.read_vector(catalog.queries[0]), abs=1e-5)
    flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert vector == pytest.approx(model_index.embed(flipped), abs=1e-5)


@pytest.mark.parametrize(
    ("factory", "distance"), [("IVF2,Flat", "cosine"), ("HNSW8", "euclidean"), ("SQ8", "cosine")]
)
def test_other_kinds_of_index_are_searched_too(copy: Path, factory: str, distance: str) -> None:
    text = (copy / "params.yaml").read_text()
    assert "factory: auto" in text
    assert "distance: cosine" in text
    text = text.replace("factory: auto", f"factory: {factory}")
    (copy / "params.yaml").write_text(text.replace("distance: cosine", f"distance: {distance}"))
    index_again(copy, "finetuned")
    model_index = ModelIndex(copy, "finetuned")
    assert model_index.distance == distance
    for image_id in model_index.ids[:5]:
        found = model_index.search(model_index.read_vector(image_id), len(model_index.ids))
        assert sorted(neighbor.image_id for neighbor in found) == sorted(model_index.ids)
        assert found[0].image_id == image_id


def test_the_length_of_a_vector_does_not_change_the_cosine(model_index: ModelIndex) -> None:
    query = model_index.read_vector(model_index.ids[2])
    one, longer = model_index.search(query, 4), model_index.search(7 * query, 4)
    assert [neighbor.image_id for neighbor in longer] == [neighbor.image_id for neighbor in one]
    assert longer[0].score == pytest.approx(1, abs=1e-5)


def remake_model(project: Path) -> str:
    write_random_models(project, seed=2)
    return (
        f"{project}/index/finetuned: made by another model than {project}/models/finetuned; "
        "run: dvc repro index, or take both from one run: dvc checkout"
    )


def remove_lineage(project: Path) -> str:
    folder = project / "index/finetuned"
    write_index(folder, *read_index(folder))
    return f"{folder}: does not name the model that made it; run: dvc repro index"


def empty_index(project: Path) -> str:
    folder = project / "index/finetuned"
    write_index(folder, faiss.IndexFlatIP(16), [])
    return f"{folder}: holds no images; run: dvc repro index"


def lose(name: str) -> Callable[[Path], str]:
    def change(project: Path) -> str:
        (project / name).unlink()
        return f"{project / name}: no such file or folder; {MAKE_IT}"

    return change


def damage_index(project: Path) -> str:
    path = project / "index/finetuned/index.faiss"
    path.write_bytes(b"nothing")
    return (
        f"{path}: its digest is not the one in ids.parquet: it is damaged, or of another index; "
        "run: dvc checkout, or if that does not help: dvc repro index"
    )


def damage_model(project: Path) -> str:
    weights = project / "models/finetuned/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    return (
        f"{weights.with_name('model.json')}: its digest is not that of it and model.safetensors: "
        "one of them is damaged, or they are of two models; run: dvc checkout, or if that does not "
        "help: dvc repro"
    )


@pytest.mark.parametrize(
    "change",
    [
        remake_model,
        damage_model,
        remove_lineage,
        empty_index,
        damage_index,
        lose("index/finetuned/index.faiss"),
        lose("index/finetuned/ids.parquet"),
        lose("models/finetuned/model.json"),
        lose("models/finetuned/model.safetensors"),
    ],
)
def test_what_cannot_be_searched_is_an_error_of_one_line(
    copy: Path, change: Callable[[Path], str]
) -> None:
    message = change(copy)
    with pytest.raises(UserError) as error:
        ModelIndex(copy, "finetuned")
    assert str(error.value) == message


def test_embeddings_made_with_other_options_than_the_index_are_refused(copy: Path) -> None:
    folder, table = copy / "index/finetuned", copy / "embeddings/finetuned"
    made = read_lineage(table)
    assert made is not None
    for each in (folder, copy / "index/added/finetuned"):
        write_index(each, *read_index(each), replace(made, hflip=not made.hflip))
    model_index = ModelIndex(copy, "finetuned")
    with pytest.raises(UserError) as error:
        model_index.read_vector(model_index.ids[0])
    assert re.fullmatch(
        rf"{folder}: made with embed.hflip (true|false) and precision fp32; {table} with "
        r"embed.hflip (true|false) and precision fp32; run: dvc repro index",
        str(error.value),
    )


def test_a_new_model_can_be_searched_after_its_stages(copy: Path) -> None:
    remake_model(copy)
    embed_again(copy, "finetuned")
    index_again(copy, "finetuned")
    model_index = ModelIndex(copy, "finetuned")
    image = Image.open(io.BytesIO(draw("red", "disc", 0)))
    assert model_index.search(model_index.embed(image), 1)


def test_the_error_for_a_wrong_model_lists_the_models(searchable: Path, tmp_path: Path) -> None:
    for root, name, message in [
        (
            searchable,
            "finetund",
            "model: found 'finetund'; allowed: baseline, best, finetuned; did you mean "
            "'finetuned'?",
        ),
        (searchable, "../models/baseline", None),
        (
            tmp_path,
            "finetuned",
            f"{tmp_path}/dvc.yaml: no such file; run from the root of the project",
        ),
    ]:
        with pytest.raises(UserError) as error:
            ModelIndex(root, name)
        if message:
            assert str(error.value) == message


def test_embeddings_are_read_only_for_queries_of_the_catalog(copy: Path) -> None:
    path = copy / "embeddings/finetuned"
    ids, vectors = read_embeddings(path)
    shutil.rmtree(path)
    model_index = ModelIndex(copy, "finetuned")
    assert model_index.search(np.ones(16, np.float32), 1)
    with pytest.raises(UserError) as error:
        model_index.read_vector(ids[0])
    assert str(error.value) == f"{path}: no such file or folder; {MAKE_IT}"
    write_embeddings(path, ids, vectors)
    with pytest.raises(UserError) as error:
        model_index.read_vector(ids[0])
    assert str(error.value) == (
        f"{path}: does not name the model that made it; run: dvc repro embed"
    )
    embed_again(copy, "finetuned")
    assert model_index.read_vector(ids[0]) == pytest.approx(vectors[0], abs=1e-6)
    with pytest.raises(UserError) as error:
        model_index.read_vector("x")
    assert str(error.value) == f"{path}: no image has image_id 'x'; run: dvc repro"


def test_each_thread_uses_one_core(model_index: ModelIndex) -> None:
    model_index.search(model_index.embed(Image.new("RGB", (9, 9))), 1)
    assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (1, 1)
