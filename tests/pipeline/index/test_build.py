"""An index: the same bytes each time, read as it was written, and clear errors."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.lineage import Lineage
from pipeline.errors import UserError
from pipeline.index.build import (
    build_beside,
    build_index,
    check_index,
    read_index,
    write_index,
)
from pipeline.index.distances import prepare_vectors
from pipeline.index.filtered_search import filtered_search
from pipeline.stopping import WorkerPool
from pipeline.workers import Workers

pytestmark = pytest.mark.slow

VECTORS = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW8", "PQ4x4", "IVF8,PQ4x4", "SQ8"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_same_vectors_and_seed_give_the_same_bytes(
    tmp_path: Path, factory: str, distance: str
) -> None:
    ids = [f"p{i}" for i in range(600)]
    for name in ("a", "b"):
        index = build_index(VECTORS, factory=factory, distance=distance, seed=5)
        write_index(tmp_path / name, index, ids)
    for file in ("index.faiss", "ids.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "ids.parquet",
        "index.faiss",
    ]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "factory",
    ["Flat", "IVF8,Flat", "IVF8,PQ4x4", "IVF8,PQ4x4,RFlat", "PCA8,IVF8,SQ8", "PQ4x4", "HNSW8"],
)
def test_parts_that_others_coded_are_merged_to_the_same_bytes(
    pool: WorkerPool, tmp_path: Path, factory: str, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.index.build.PART", 250)
    options = {"factory": factory, "distance": distance, "seed": 5}
    # Far from the origin, so that for the Euclidean distance they are moved.
    alone = build_index(VECTORS + 100, **options)
    shared = build_index(VECTORS + 100, **options, workers=Workers(pool, tmp_path))
    assert faiss.serialize_index(alone).tobytes() == faiss.serialize_index(shared).tobytes()
    assert shared.ntotal == 600


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as processes:
        yield processes


@pytest.mark.parametrize("factory", ["HNSW8", "NSG8", "IVF8_HNSW8,Flat"])
def test_the_number_of_threads_changes_no_byte(factory: str) -> None:
    """The links of NSG are others each time where several threads build it."""
    vectors = np.random.default_rng(0).normal(size=(5000, 16)).astype(np.float32)
    before, found = faiss.omp_get_max_threads(), set()
    try:
        for threads in (1, 8, 8):
            faiss.omp_set_num_threads(threads)
            index = build_index(vectors, factory=factory, distance="euclidean", seed=5)
            found.add(hashlib.sha256(faiss.serialize_index(index)).hexdigest())
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("factory", ["IVF8,Flat", "PQ4x4", "IVF8,PQ4x4"])
def test_another_seed_trains_another_index(tmp_path: Path, factory: str) -> None:
    for seed in (1, 2):
        index = build_index(VECTORS, factory=factory, distance="cosine", seed=seed)
        write_index(tmp_path / str(seed), index, [f"p{i}" for i in range(600)])
    one, two = ((tmp_path / name / "index.faiss").read_bytes() for name in "12")
    assert one != two


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    ids = [f"p{i}" for i in range(600)]
    write_index(tmp_path, build_index(VECTORS, factory="Flat", distance="cosine", seed=0), ids)
    index, read_ids = read_index(tmp_path)
    assert read_ids == ids
    assert index.ntotal == 600


def test_an_unknown_factory_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS, factory="Flt", distance="cosine", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'Flt' (could not parse index string Flt); allowed: auto, or a faiss "
        "factory string for vectors of length 16, such as Flat, HNSW32 or IVF64,Flat"
    )


def test_a_factory_that_does_not_fit_the_length_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS, factory="PQ7", distance="cosine", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'PQ7' (The dimension of the vector (d) should be a multiple of the "
        "number of subquantizers (M)); allowed: auto, or a faiss factory string for vectors of "
        "length 16, such as Flat, HNSW32 or IVF64,Flat"
    )


def test_a_gallery_that_is_too_small_for_the_factory_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        build_index(VECTORS[:30], factory="IVF64,Flat", distance="euclidean", seed=0)
    assert str(caught.value) == (
        "index.factory: found 'IVF64,Flat' (Number of training points (30) should be at least as "
        "large as number of clusters (64)); allowed: a factory that 30 images suffice "
        "for, such as Flat"
    )


def test_the_error_for_a_missing_or_broken_index_names_the_stage_to_run(tmp_path: Path) -> None:
    index = build_index(VECTORS, factory="Flat", distance="cosine", seed=0)
    path = tmp_path / "index.faiss"
    write_index(tmp_path, index, [f"p{i}" for i in range(599)])
    with pytest.raises(UserError) as caught:
        read_index(tmp_path)
    assert str(caught.value) == (
        f"{path}: found 600 vectors; allowed: 599, one for each row of ids.parquet; run: dvc "
        "repro index"
    )
    path.unlink()
    with pytest.raises(UserError) as caught:
        read_index(tmp_path)
    assert str(caught.value) == (
        f"{path}: no such file; run the stage that writes it: dvc repro index"
    )


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
def test_a_changed_byte_of_an_index_is_noticed(factory: str, tmp_path: Path) -> None:
    """faiss would read a changed vector as it is, and fail at a changed list when it searches."""
    index = build_index(VECTORS, factory=factory, distance="cosine", seed=0)
    path = tmp_path / "index.faiss"
    write_index(tmp_path, index, [f"p{i}" for i in range(600)])
    whole = path.read_bytes()
    for at in (0, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError) as caught:
            read_index(tmp_path)
        assert str(caught.value) == (
            f"{path}: its digest is not the one in ids.parquet: it is damaged, or of another "
            "index; run: dvc checkout, or if that does not help: dvc repro index"
        )


MADE = Lineage("0123456789abcdef", hflip=False, precision="fp32")


def images_of(vectors: np.ndarray, lineage: Lineage | None = MADE) -> EmbeddedSplit:
    """Return images p0, p1, … that are all in the gallery."""
    count = len(vectors)
    return EmbeddedSplit(
        ids=np.array([f"p{i}" for i in range(count)], dtype=object),
        vectors=vectors,
        split=np.array(["test"] * count, dtype=object),
        is_query=np.ones(count, dtype=bool),
        is_gallery=np.ones(count, dtype=bool),
        lineage=lineage,
        path=Path("embeddings/m.parquet"),
    )


@pytest.mark.parametrize(
    ("built", "images", "text"),
    [
        (
            {"ids": ["p1", "p0", *(f"p{i}" for i in range(2, 50))]},
            images_of(VECTORS[:50]),
            "/ids.parquet: found 50 image_ids that are not those of the splits; allowed: "
            "its 50, in the order of ties; run: dvc repro index",
        ),
        (
            {},
            images_of(VECTORS[:50, :8]),
            "/index.faiss: found vectors of length 16; the embeddings have 8; run: dvc repro index",
        ),
        (
            {"distance": "euclidean", "factory": "HNSW8"},
            images_of(VECTORS[:50]),
            "/index.faiss: found an index for distance euclidean; index.distance is cosine; run: "
            "dvc repro index",
        ),
        (
            {"distance": "euclidean", "offset": 1000.0},
            images_of(VECTORS[:50]),
            "/index.faiss: found an index for distance euclidean; index.distance is cosine; run: "
            "dvc repro index",
        ),
        (
            {"lineage": None},
            images_of(VECTORS[:50]),
            ": does not name the model that made it; run: dvc repro index",
        ),
        (
            {"lineage": replace(MADE, model="fedcba9876543210")},
            images_of(VECTORS[:50]),
            ": made by another model than embeddings/m.parquet; run: dvc repro index, or take both "
            "from one run: dvc checkout",
        ),
        (
            {"lineage": replace(MADE, hflip=True)},
            images_of(VECTORS[:50]),
            ": made with embed.hflip true and precision fp32; embeddings/m.parquet with "
            "embed.hflip false and precision fp32; run: dvc repro index",
        ),
    ],
)
def test_an_index_of_another_gallery_distance_or_model_is_refused(
    tmp_path: Path, built: dict[str, Any], images: EmbeddedSplit, text: str
) -> None:
    options = {"factory": "Flat", "distance": "cosine", "lineage": MADE, "offset": 0.0}
    options |= {"ids": [f"p{i}" for i in range(50)]} | built
    vectors = VECTORS[:50] + np.float32(options["offset"])
    kind = {name: options[name] for name in ("factory", "distance")}
    write_index(tmp_path, build_index(vectors, **kind, seed=0), options["ids"], options["lineage"])
    with pytest.raises(UserError) as caught:
        check_index(tmp_path, *read_index(tmp_path), images, distance="cosine")
    assert str(caught.value) == f"{tmp_path}{text}"


def test_an_index_of_embeddings_without_a_lineage_is_refused_unless_it_has_none(
    tmp_path: Path,
) -> None:
    images = images_of(VECTORS[:3], lineage=None)
    index = build_index(images.vectors, factory="Flat", distance="cosine", seed=0)
    write_index(tmp_path, index, list(images.ids))
    check_index(tmp_path, *read_index(tmp_path), images, distance="cosine")
    write_index(tmp_path, index, list(images.ids), MADE)
    with pytest.raises(UserError) as caught:
        check_index(tmp_path, *read_index(tmp_path), images, distance="cosine")
    assert str(caught.value) == (
        f"embeddings/m.parquet: does not name the model that made it; {tmp_path} does; "
        "run: dvc repro embed"
    )


def test_an_error_in_the_ids_names_the_file_that_would_be_written(tmp_path: Path) -> None:
    index = build_index(VECTORS[:2], factory="Flat", distance="cosine", seed=0)
    with pytest.raises(UserError) as caught:
        write_index(tmp_path, index, ["p", "p"])
    assert str(caught.value).startswith(f"{tmp_path / 'ids.parquet'}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "NSG8", "PQ4x4", "IVF8,PQ4x4"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_index_beside_another_scores_as_that_does(factory: str, distance: str) -> None:
    """Of 4,000 vectors, a quarter are beside; so about a quarter of the nearest are, too."""
    mean = 100 if distance == "euclidean" else 0  # so that the index moves all vectors
    vectors = np.random.default_rng(0).normal(mean, 1, (4_000, 16)).astype(np.float32)
    queries = np.random.default_rng(1).normal(mean, 1, (100, 16)).astype(np.float32)
    index = build_index(vectors[:3_000], factory=factory, distance=distance, seed=1)
    beside = build_beside(index, vectors[3_000:], distance=distance)
    assert (index.ntotal, beside.ntotal) == (3_000, 1_000)
    share = 0
    for query in prepare_vectors(queries, distance=distance):
        scores = [
            filtered_search(each, query, 10, distance=distance).scores for each in (index, beside)
        ]
        lowest = np.sort(np.concatenate(scores))[-10]
        share += (scores[1] >= lowest).sum()
    assert 0.2 < share / 1_000 < 0.32


def test_an_index_of_nothing_beside_another_is_flat() -> None:
    index = build_index(VECTORS, factory="IVF4,Flat", distance="cosine", seed=1)
    beside = build_beside(index, VECTORS[:0], distance="cosine")
    assert isinstance(beside, faiss.IndexFlat)
    assert (beside.ntotal, beside.d) == (0, VECTORS.shape[1])
