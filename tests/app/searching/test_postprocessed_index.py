"""Post-processing is applied alike when an index is built, measured, queried and exported."""

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.commands.export import export_images
from app.searching import model_index as model_index_module
from app.searching.matching import find_matches
from app.searching.model_index import ModelIndex
from pipeline.data.joins import read_embedded_split
from pipeline.data.tables import NEIGHBORS, SPLITS, read_metadata, read_table, write_table
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.evaluation import index_recall
from pipeline.index import reranking
from pipeline.index.build import read_index, read_index_postprocessing, write_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.postprocessing import FILE
from pipeline.index.stored_vectors import StoredVectors
from stages import evaluate
from tests.helpers import searchable
from tests.helpers.clone import change_params

pytestmark = pytest.mark.slow

STEPS = {
    "prefix": 12,
    "center": True,
    "pca": 6,
    "whiten": 0.5,
    "database_augmentation": 2,
    "query_expansion": 3,
    "rerank": 3,
}
MODEL = "finetuned"
TOP, KEPT = 5, 3


@pytest.fixture(scope="module", autouse=True)
def _few_are_reranked() -> Iterator[None]:
    """Fewer than these small projects have, so that there are results which are not."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (reranking, model_index_module, index_recall):
            patch.setattr(module, "TOP", TOP)
        yield


@pytest.fixture(
    scope="module",
    params=[("cosine", "Flat"), ("euclidean", "Flat"), ("cosine", "SQ8")],
    ids=" ".join,
)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an added image, whose index was post-processed."""
    distance, factory = request.param
    root = searchable.build(
        tmp_path_factory.mktemp("project"),
        **{
            "index.distance": distance,
            "index.factory": factory,
            "evaluate.k": [1, 3],
            "evaluate.knn": [1],
        },
        **{"evaluate.neighbors": KEPT, "plot.columns": KEPT},
    )
    part_queries(root / "data/splits.parquet")
    change_params(root, {"postprocess.name": "fixed", "postprocess.fixed": STEPS})
    drawn = searchable.drawn_images()[0]
    searchable.pack_added_images(root, [SourceImage("added/new.jpg", (), drawn.read)])
    searchable.embed_again(root, MODEL)
    searchable.index_again(root, MODEL)
    with chdir(root):
        evaluate.main(
            MODEL,
            embeddings=Path("embeddings", MODEL),
            splits=Path("data/splits.parquet"),
            catalog=Path("data/catalog.parquet"),
            images=Path("data/images"),
            index=Path("index", MODEL),
            metrics=Path("metrics/again.json"),
            headline=Path("headline/again.json"),
            results=Path("results/again"),
        )
    return root


def part_queries(path: Path) -> None:
    """Let half of the test images be queries, and the other half the gallery."""
    table = read_table(path, SPLITS)
    test = np.array(table["split"].to_pylist()) == "test"
    half = np.arange(len(test)) % 2 == 0
    for name, mask in (("is_query", test & half), ("is_gallery", test & ~half)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(mask))
    write_table(table, path, SPLITS)


def test_a_query_finds_what_was_measured(project: Path) -> None:
    """With the gallery alone, which is what the metrics are of."""
    model_index = ModelIndex(project, MODEL)
    images = read_embedded_split(project / f"embeddings/{MODEL}", project / "data/splits.parquet")
    gallery = set(images.ids[images.is_gallery])
    allowed = np.array([image_id in gallery for image_id in model_index.ids])
    table = read_table(project / "results/again/neighbors.parquet", NEIGHBORS).to_pandas()
    # A query is expanded by the vectors of the index, which a compressed one has only nearly.
    exact = isinstance(read_index(project / f"index/{MODEL}")[0], faiss.IndexFlat)
    reordered = 0
    for query, rows in table.groupby("query"):
        vector, options = model_index.read_vector(str(query)), {"exclude": str(query)}
        found = model_index.search(vector, len(rows), allowed=allowed, **options)
        assert [each.image_id for each in found] == list(rows["image_id"])
        assert [each.score for each in found] == pytest.approx(
            list(rows["score"]), abs=1e-5 if exact else 0.01
        )
        every = model_index.search(vector, 99, allowed=allowed, **options)
        by_score = model_index.search(vector, 99, allowed=allowed, by_score=True, **options)
        assert every[: len(rows)] == found
        assert set(every[:TOP]) == set(by_score[:TOP])
        assert every[TOP:] == by_score[TOP:] != []
        reordered += found != by_score[: len(rows)]
    assert reordered > 1


def test_the_highest_score_decides_whether_there_is_a_match(project: Path) -> None:
    """Which need not be that of the first result."""
    model_index = ModelIndex(project, MODEL)
    others = 0
    for query in model_index.ids:
        vector = model_index.read_vector(query)
        found = model_index.search(vector, len(model_index.ids), exclude=query)
        [nearest] = model_index.search(vector, 1, exclude=query, by_score=True)
        assert nearest.score == max(each.score for each in found)
        others += found[0].score < nearest.score
        below = (found[0].score + nearest.score) / 2
        matches = find_matches(model_index, vector, 1, threshold=below, exclude=query)
        assert matches.match is (found[0].score < nearest.score)
    assert others


def test_the_metrics_name_it_and_stand_beside_the_plain_ones(project: Path) -> None:
    metrics = json.loads((project / "metrics/again.json").read_text())
    assert ModelIndex(project, MODEL).postprocessing == metrics["postprocessing"]
    assert metrics["postprocessing"] == (
        "the first 12 numbers, centered, 6 axes, whitened by 0.5, database augmentation 2, "
        "query expansion 3, re-ranked by 3 neighbors"
    )
    about = read_metadata(project / "results/again/queries.parquet")
    assert about["postprocessing"] == metrics["postprocessing"]
    assert metrics["index_recall_at_3"] > 0.9
    assert {"plain_map", "plain_recall_at_1", "plain_precision_at_3"} <= metrics.keys()
    assert metrics["plain_map"] != metrics["map"]


def test_an_exported_vector_is_the_mapped_one(project: Path, tmp_path: Path) -> None:
    export_images(project, tmp_path / "out", model=MODEL, kind="parquet", side=0)
    rows = {row["image_id"]: row["vector"] for row in pq.read_table(tmp_path / "out").to_pylist()}
    images = read_embedded_split(project / f"embeddings/{MODEL}", project / "data/splits.parquet")
    mapped = read_index_postprocessing(project / f"index/{MODEL}").apply(images.vectors)
    assert mapped.shape[1] == 6
    for image_id, vector in zip(images.ids, mapped, strict=True):
        assert rows[image_id] == vector.tolist()
    assert len(rows["added/new.jpg"]) == 6


def test_the_added_image_is_found(project: Path) -> None:
    model_index = ModelIndex(project, MODEL)
    vector = model_index.read_vector("added/new.jpg")
    found = model_index.search(vector, 3)
    assert "added/new.jpg" in [each.image_id for each in found]
    without = model_index.search(vector, 3, exclude="added/new.jpg")
    assert "red disc/0.jpg" in [each.image_id for each in without]  # of which it is a copy


def test_the_vectors_in_the_index_are_augmented(project: Path) -> None:
    folder = project / f"index/{MODEL}"
    index, ids = read_index(folder)
    images = read_embedded_split(project / f"embeddings/{MODEL}", project / "data/splits.parquet")
    mapped = read_index_postprocessing(folder).apply(images.vectors)
    distance = ModelIndex(project, MODEL).distance
    stored = StoredVectors(index).read(np.arange(len(ids)))
    assert ids == list(images.ids)
    assert not np.isclose(stored, prepare_vectors(mapped, distance=distance)).all()


def lose(folder: Path) -> str:
    (folder / FILE).unlink()
    return (
        f"{folder / FILE}: its digest is not the one in ids.parquet: it is damaged, missing, or of "
        "another index; run: dvc checkout, or if that does not help: dvc repro index"
    )


def damage(folder: Path) -> str:
    content = bytearray((folder / FILE).read_bytes())
    content[-1] ^= 1
    (folder / FILE).write_bytes(content)
    return lose(folder)


def forget(folder: Path) -> str:
    added = folder.parent / "added" / folder.name
    index, ids = read_index(added)
    write_index(added, index, ids)
    return f"{added}: made with another post-processing than {folder}; run: dvc repro index"


@pytest.mark.parametrize("change", [lose, damage, forget])
def test_another_map_is_refused(project: Path, tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    copy = shutil.copytree(project, tmp_path / "copy")
    told = change(copy / f"index/{MODEL}")
    with pytest.raises(UserError) as caught:
        ModelIndex(copy, MODEL)
    assert str(caught.value) == told
