"""Maps of embeddings and expanded queries, against scikit-learn and plain formulas."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.decomposition import PCA

from pipeline.data import principal_axes
from pipeline.data.principal_axes import fit_axes
from pipeline.errors import UserError
from pipeline.index.distances import prepare_vectors
from pipeline.index.postprocessing import (
    KEY,
    NOTHING,
    Postprocessing,
    average_with_neighbors,
    make_postprocessing,
    read_postprocessing,
    write_postprocessing,
)
from pipeline.index.postprocessing_options import Steps

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(400, 12)) @ RNG.normal(size=(12, 12)) + 2).astype(np.float32)
OTHERS = (RNG.normal(size=(50, 12)) + 1).astype(np.float32)


def fitted(distance: str = "euclidean", **changes: object) -> Postprocessing:
    values = {"prefix": None, "center": True, "pca": None, "whiten": 0.0} | changes
    values = {"database_augmentation": 0, "query_expansion": 0, "rerank": 0} | values
    steps = Steps.model_validate(values)
    prepared = prepare_vectors(VECTORS[:, : steps.prefix], distance=distance)
    axes = fit_axes(prepared, center=steps.center, seed=0)
    return make_postprocessing(axes, steps, distance=distance)


@pytest.mark.parametrize("pca", [None, 5])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_full_whitening_is_that_of_scikit_learn(distance: str, pca: int | None) -> None:
    mapped = fitted(distance, whiten=1.0, pca=pca).apply(OTHERS)
    prepared = (prepare_vectors(each, distance=distance) for each in (VECTORS, OTHERS))
    train, others = (each.astype(np.float64) for each in prepared)
    expected = PCA(pca, whiten=True).fit(train).transform(others)
    expected *= np.sqrt(len(VECTORS) / (len(VECTORS) - 1))  # it divides by n - 1
    signs = np.sign((mapped * expected).sum(axis=0))  # of an axis, which are free
    assert mapped * signs == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("whiten", [0.0, 0.5])
def test_each_axis_is_divided_by_that_power_of_its_deviation(whiten: float) -> None:
    plain, mapped = (fitted(pca=12, whiten=power).apply(VECTORS) for power in (0.0, whiten))
    assert mapped.std(axis=0) == pytest.approx(plain.std(axis=0) ** (1 - whiten), rel=1e-4)


def test_without_centering_the_axes_are_those_of_the_inner_products() -> None:
    mapped = fitted(center=False, pca=3).apply(VECTORS)
    _, lengths, axes = np.linalg.svd(VECTORS.astype(np.float64), full_matrices=False)
    assert np.linalg.norm(mapped, axis=0) == pytest.approx(lengths[:3], rel=1e-5)
    assert np.abs(mapped) == pytest.approx(np.abs(VECTORS @ axes[:3].T), rel=1e-3, abs=1e-3)


def test_centering_alone_keeps_all_distances() -> None:
    mapped = fitted().apply(OTHERS)
    for one, other in ((0, 1), (3, 9)):
        before, after = (np.linalg.norm(each[one] - each[other]) for each in (OTHERS, mapped))
        assert after == pytest.approx(before, rel=1e-5)


def test_a_row_is_mapped_to_the_same_bits_whichever_others_are_with_it() -> None:
    done = fitted("cosine", pca=7, whiten=0.5)
    many = np.tile(OTHERS, (200, 1))  # more than are mapped at once
    together = done.apply(many)
    for row in (0, 49, 5_000, 9_999):
        assert done.apply(many[row : row + 1])[0].tobytes() == together[row].tobytes()
    assert together[:50].tobytes() == together[-50:].tobytes()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_first_numbers_alone_are_mapped(distance: str) -> None:
    whole, cut = fitted(distance, prefix=5, pca=3, whiten=1.0), VECTORS[:, :5]
    prepared = prepare_vectors(cut, distance=distance)
    steps = {"prefix": None, "center": True, "pca": 3, "whiten": 1.0}
    nothing = {"database_augmentation": 0, "query_expansion": 0, "rerank": 0}
    alone = make_postprocessing(
        fit_axes(prepared, center=True, seed=0), Steps(**steps | nothing), distance=distance
    )
    assert whole.apply(OTHERS).tobytes() == alone.apply(OTHERS[:, :5]).tobytes()
    assert whole.steps.describe() == "the first 5 numbers, centered, 3 axes, whitened by 1"
    only = make_postprocessing(
        None,
        Steps(**{"prefix": 5, "center": False, "pca": None, "whiten": 0.0} | nothing),
        distance=distance,
    )
    assert only.apply(OTHERS).tolist() == OTHERS[:, :5].tolist()
    assert only.dim == 5


def test_an_axis_without_deviation_is_not_whitened_but_left_out() -> None:
    flat = VECTORS.copy()
    flat[:, 4:] = flat[:, :1]  # 4 axes are left
    axes = fit_axes(flat, center=True, seed=0)
    steps = Steps(
        **{"prefix": None, "center": True, "pca": 10, "whiten": 1.0},
        database_augmentation=3,
        query_expansion=2,
        rerank=0,
    )
    done = make_postprocessing(axes, steps, distance="euclidean")
    assert (done.dim, done.steps.describe()) == (
        4,
        "centered, 4 axes, whitened by 1, database augmentation 3, query expansion 2",
    )
    assert np.isfinite(done.apply(OTHERS)).all()


def test_of_many_images_the_axes_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal_axes, "MOST_VECTORS", 100)
    axes = [fit_axes(VECTORS, center=True, seed=seed).mean for seed in (0, 0, 1)]
    assert axes[0].tolist() == axes[1].tolist() != axes[2].tolist()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("pca", [None, 4])
@pytest.mark.parametrize("expand", [0, 3])
def test_what_is_written_is_read(
    tmp_path: Path, center: bool, pca: int | None, expand: int
) -> None:
    done = fitted(center=center, pca=pca, query_expansion=expand)
    write_postprocessing(tmp_path / "a.safetensors", done)
    again = read_postprocessing(tmp_path / "a.safetensors")
    for name, value in asdict(done).items():
        if name != "map":
            assert getattr(again, name) == value
    assert again.apply(OTHERS).tobytes() == done.apply(OTHERS).tobytes()
    assert (again.dim is None) == (not center and pca is None)


def test_a_file_of_an_earlier_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    steps = fitted().steps.model_dump()
    del steps["rerank"]
    save_file({}, path, metadata={KEY: json.dumps({"steps": steps, "distance": "cosine"})})
    with pytest.raises(UserError) as caught:
        read_postprocessing(path)
    assert str(caught.value) == (
        f"{path}: its steps are those of another release; run: dvc repro index"
    )


@pytest.mark.parametrize(
    ("step", "transductive", "reads"),
    [
        ("database_augmentation", True, False),
        ("query_expansion", True, True),
        ("rerank", True, True),
        ("prefix", False, False),
    ],
)
def test_what_a_step_needs_of_other_images(step: str, transductive: bool, reads: bool) -> None:
    done = NOTHING.with_steps(**{step: 2})
    assert (done.is_transductive, done.reads_vectors) == (transductive, reads)


def test_nothing_changes_nothing() -> None:
    assert NOTHING.apply(OTHERS) is OTHERS
    assert fitted().apply(OTHERS[:0]).size == 0


def test_a_broken_embedding_is_told() -> None:
    broken = OTHERS.copy()
    broken[3, 2] = np.nan
    with pytest.raises(UserError) as caught:
        fitted().apply(broken)
    assert str(caught.value).startswith("embeddings: 1 of 50 hold NaN or infinity, the first is")


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_expanded_query_is_the_weighted_mean(distance: str) -> None:
    gallery = prepare_vectors(VECTORS[:20], distance=distance)
    queries = prepare_vectors(OTHERS[:3], distance=distance)
    rows = np.array([[3, 5, -1], [0, 19, 7], [-1, -1, -1]])
    scores = np.where(rows < 0, -np.inf, RNG.uniform(-0.2, 1, rows.shape)).astype(np.float32)
    expanded = average_with_neighbors(queries, gallery, rows, scores, distance=distance)
    for query in range(3):
        total, weight = queries[query].astype(np.float64), 1.0
        for row, score in zip(rows[query], scores[query], strict=True):
            if row >= 0:
                share = max(float(score), 0.0) ** 3 if distance == "cosine" else 1.0
                total, weight = total + share * gallery[row], weight + share
        mean = total / weight
        expected = mean / np.linalg.norm(mean) if distance == "cosine" else mean
        assert expanded[query] == pytest.approx(expected, rel=1e-5, abs=1e-6)
