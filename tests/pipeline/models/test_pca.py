"""The principal axes against a plain SVD, and where there are fewer of them than are wanted."""

import numpy as np
import pytest

from pipeline.data import principal_axes as axes_of_vectors
from pipeline.models.pca import principal_axes


def vectors(images: int, features: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    scale = np.linspace(3, 0.1, features)
    return (rng.normal(size=(images, features)) * scale + 1).astype(np.float32)


@pytest.mark.parametrize(("images", "features"), [(60, 8), (8, 60)])
@pytest.mark.parametrize("most", [2048, 4], ids=["by features", "by images"])
def test_the_axes_are_those_of_an_svd(
    images: int, features: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = vectors(images, features)
    if images <= most or features <= most:
        monkeypatch.setattr(axes_of_vectors, "MOST", most)
    axes = principal_axes(data, 5, seed=0)
    expected = np.linalg.svd(data.astype(np.float64), full_matrices=False)[2][:5]
    assert np.abs((axes * expected).sum(axis=1)) == pytest.approx(np.ones(5), abs=1e-5)
    assert axes @ axes.T == pytest.approx(np.eye(5), abs=1e-5)


def test_of_all_projections_it_keeps_inner_products_best() -> None:
    data = vectors(50, 20)

    def error(axes: np.ndarray) -> float:
        kept = data @ axes.T
        return float(np.square(kept @ kept.T - data @ data.T).sum())

    random = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 6)))[0].T
    assert error(principal_axes(data, 6, seed=0)) < 0.3 * error(random)
    assert error(principal_axes(data, 20, seed=0)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("most", [2048, 4], ids=["by features", "by images"])
def test_axes_beyond_those_of_the_images_are_orthonormal_too(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axes_of_vectors, "MOST", most)
    data = vectors(3, 10)
    axes = principal_axes(data, 7, seed=0)
    assert axes @ axes.T == pytest.approx(np.eye(7), abs=1e-5)
    kept = data @ axes[:3].T
    assert kept @ kept.T == pytest.approx(data @ data.T, rel=1e-4)


def test_beyond_the_features_nothing_is_left() -> None:
    axes = principal_axes(vectors(30, 4), 6, seed=0)
    assert axes[:4] @ axes[:4].T == pytest.approx(np.eye(4), abs=1e-5)
    assert not axes[4:].any()


def test_of_very_many_images_a_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axes_of_vectors, "MOST", 12)
    data = vectors(200, 20)
    first, same, other = (principal_axes(data, 4, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
