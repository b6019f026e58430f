import inspect

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.figures import projections
from pipeline.figures.projections import (
    FEWEST,
    project_pca,
    project_tsne,
    project_umap,
    sample_ids,
    umap_in_background,
)


def blobs(*, size: int = 40, dim: int = 16) -> np.ndarray:
    """Two clusters far apart: rows 0..size/2 and the rest."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(size, dim)).astype(np.float32)
    rows[size // 2 :] += 12
    return rows


def separated(points: np.ndarray) -> bool:
    half = len(points) // 2
    one, two = points[:half], points[half:]
    apart = np.linalg.norm(one.mean(0) - two.mean(0))
    return bool(apart > 2 * max(one.std(), two.std()) / 2)


def test_pca_agrees_with_the_eigenvectors_of_the_covariance() -> None:
    rows = blobs()
    points, share = project_pca(rows)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    assert points.var(axis=0, ddof=1) == pytest.approx(values[:2], rel=1e-3)
    assert share == pytest.approx(values[:2].sum() / values.sum(), rel=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 80])
@pytest.mark.parametrize("axes", [2, 3])
def test_pca_gives_its_coordinates_whatever_the_size_of_the_embedding(dim: int, axes: int) -> None:
    points, share = project_pca(blobs(dim=dim), axes=axes)
    assert points.shape == (40, axes)
    assert 0 < share <= 1.0001


def test_the_third_axis_of_pca_leaves_the_first_two_as_they_are() -> None:
    plane, less = project_pca(blobs())
    solid, more = project_pca(blobs(), axes=3)
    assert np.array_equal(solid[:, :2], plane)
    assert more > less


def test_tsne_keeps_clusters_apart_and_repeats_itself() -> None:
    points = project_tsne(blobs(), seed=7)
    assert separated(points)
    assert np.array_equal(points, project_tsne(blobs(), seed=7))


@pytest.mark.slow
def test_umap_keeps_clusters_apart_and_is_the_same_in_the_second_process() -> None:
    here = project_umap({"baseline": blobs(), "finetuned": blobs(size=8)}, seed=7)
    vectors = {"baseline": blobs(), "finetuned": blobs(size=8)}
    with umap_in_background(vectors, seed=7, axes=(2, 3)) as futures:
        there, solid = futures[2].result(), futures[3].result()
    assert separated(here["baseline"])
    assert separated(solid["baseline"])
    assert solid["finetuned"].shape == (8, 3)
    assert here["finetuned"].shape == (8, 2)
    assert all(np.array_equal(here[model], there[model]) for model in here)


@pytest.mark.parametrize("name", ["project_pca", "project_tsne", "project_umap"])
def test_no_projection_can_be_given_a_label(name: str) -> None:
    taken = set(inspect.signature(getattr(projections, name)).parameters)
    assert taken <= {"vectors", "seed", "axes"}


def test_nan_is_an_error() -> None:
    rows = blobs()
    rows[3, 2] = np.nan
    with pytest.raises(UserError, match=r"^plot: an embedding holds NaN or infinity; train again"):
        project_pca(rows)


def test_a_sample_depends_on_the_seed_and_keeps_the_order() -> None:
    ids = [f"{i:03d}" for i in range(100)]
    sampled = sample_ids(ids, most=20, seed=1)
    assert len(set(sampled)) == 20
    assert sampled == sorted(sampled)
    assert sampled == sample_ids(ids, most=20, seed=1) != sample_ids(ids, most=20, seed=2)
    assert sample_ids(ids, most=100, seed=1) == ids


@pytest.mark.parametrize("images", [1, 2, FEWEST - 1])
def test_of_too_few_images_the_pca_stands_for_other_methods(images: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(images, 6)).astype(np.float32)
    expected, _ = project_pca(vectors)
    assert np.array_equal(project_tsne(vectors, seed=1), expected)
    assert np.array_equal(project_umap({"m": vectors}, seed=1)["m"], expected)
    assert sample_ids(["a", "b", "c"], most=50, seed=1) == ["a", "b", "c"]
