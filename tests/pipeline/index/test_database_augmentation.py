"""Database augmentation: each image is averaged with its neighbors of the same kind alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.joins import EmbeddedSplit
from pipeline.errors import UserError
from pipeline.index import database_augmentation
from pipeline.index.database_augmentation import augment_rows, vectors_to_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.postprocessing import NOTHING, Postprocessing
from pipeline.workers import Workers
from tests.helpers.pools import PoolHere

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(60, 8)).astype(np.float32)


def augment(
    postprocessing: Postprocessing, vectors: NDArray[np.float32], **options: Workers
) -> NDArray[np.float32]:
    return augment_rows(postprocessing, vectors, np.arange(len(vectors)), **options)


def done(count: int, distance: str = "cosine") -> Postprocessing:
    return replace(NOTHING.with_steps(database_augmentation=count), distance=distance)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("count", [1, 4, 100])
def test_it_is_the_weighted_mean_of_the_nearest(count: int, distance: str) -> None:
    found = augment(done(count, distance), VECTORS)
    prepared = prepare_vectors(VECTORS, distance=distance).astype(np.float64)
    for row, vector in enumerate(prepared):
        others = [o for o in range(60) if o != row]
        if distance == "cosine":
            nearness = {o: float(vector @ prepared[o]) for o in others}
        else:
            nearness = {o: -float(np.linalg.norm(vector - prepared[o])) for o in others}
        nearest = sorted(others, key=lambda o: -nearness[o])[:count]
        weights = [max(nearness[o], 0) ** 3 if distance == "cosine" else 1 for o in nearest]
        total = vector + sum(w * prepared[o] for w, o in zip(weights, nearest, strict=True))
        expected = total / (1 + sum(weights))
        if distance == "cosine":
            expected /= np.linalg.norm(expected)
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def split(*, apart: bool) -> EmbeddedSplit:
    """20 images each of the gallery, of training and of queries alone."""
    return EmbeddedSplit(
        ids=np.arange(60).astype(object),
        vectors=VECTORS,
        split=np.array(["test", "train", "test"] * 20, object),
        is_query=np.tile([not apart, False, True], 20),
        is_gallery=np.tile([True, False, False], 20),
    )


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_images_of_the_gallery_are_averaged_with_each_other_and_no_others_are(
    distance: str,
) -> None:
    images, before = split(apart=True), VECTORS.copy()
    indexed = vectors_to_index(done(3, distance), images)
    prepared = prepare_vectors(VECTORS, distance=distance)
    assert indexed[~images.is_gallery].tolist() == prepared[~images.is_gallery].tolist()
    alone = augment(done(3, distance), VECTORS[images.is_gallery])
    assert indexed[images.is_gallery].tolist() == alone.tolist()
    assert VECTORS.tobytes() == before.tobytes()  # those that queries are made of


def test_validation_images_have_no_part_where_they_are_the_queries() -> None:
    images = split(apart=True)
    roles = images.split.copy()
    of_val = np.flatnonzero(images.is_gallery)[::2]
    roles[of_val] = "val"
    images = replace(images, split=roles)
    indexed = vectors_to_index(done(3), images, of_validation=False)
    prepared = prepare_vectors(VECTORS, distance="cosine")
    rest = np.setdiff1d(np.flatnonzero(images.is_gallery), of_val)
    assert indexed[of_val].tolist() == prepared[of_val].tolist()
    assert indexed[rest].tolist() == augment(done(3), VECTORS[rest]).tolist()


def test_a_query_must_not_be_in_the_gallery() -> None:
    with pytest.raises(UserError) as caught:
        vectors_to_index(done(3), split(apart=False))
    assert str(caught.value) == (
        "postprocess: found database_augmentation 3 with queries that are in the gallery, whose "
        "neighbors would be averaged with them, and so be found by them; allowed: 0; or a split "
        "whose gallery is apart from its queries"
    )


def test_by_other_processes_it_is_the_same(tmp_path: Path) -> None:
    there = augment(done(3), VECTORS, workers=Workers(PoolHere(2), tmp_path))
    assert there.tobytes() == augment(done(3), VECTORS).tobytes()


def test_without_it_vectors_stay_as_they_are() -> None:
    assert augment(NOTHING, VECTORS) is VECTORS


def test_too_many_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_augmentation, "MOST", 50)
    with pytest.raises(UserError) as caught:
        augment(done(3), VECTORS)
    assert str(caught.value) == (
        "postprocess: found database_augmentation 3 with 60 images, of which all pairs would be "
        "compared; allowed: 0, or at most 50 images"
    )
