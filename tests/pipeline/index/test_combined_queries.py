"""Queries of several parts, against the sum of standard scores that they stand for."""

import numpy as np
import pytest

from pipeline.data.arrays import Vectors
from pipeline.errors import UserError
from pipeline.index.combined_queries import UNWANTED_WEIGHT, combine

NONE = np.empty((0, 8), np.float32)


def vectors(count: int, *, seed: int, spread: float = 1.0) -> Vectors:
    """Unit vectors around one direction: the smaller the spread, the more alike."""
    drawn = np.random.default_rng(seed).normal(size=(count, 8)) * spread
    drawn[:, 0] += 1
    unit: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def slow_scores(wanted: Vectors, unwanted: Vectors, gallery: Vectors) -> list[float]:
    """The mean standard score of the wanted minus that of the unwanted, up to a constant."""

    def standard(part: Vectors) -> list[float]:
        scores = [float(np.dot(part.astype(float), each.astype(float))) for each in gallery]
        return [(score - np.mean(scores)) / np.std(scores) for score in scores]

    total = np.mean([standard(part) for part in wanted], axis=0)
    if len(unwanted):
        total = total - UNWANTED_WEIGHT * np.mean([standard(part) for part in unwanted], axis=0)
    return [float(each) for each in total]


@pytest.mark.parametrize(("wanted", "unwanted"), [(2, 0), (1, 1), (3, 2)])
def test_the_scores_are_sums_of_standard_scores_up_to_scale(wanted: int, unwanted: int) -> None:
    gallery = vectors(60, seed=1)
    parts, others = vectors(wanted, seed=2), vectors(unwanted, seed=3, spread=3)
    query = combine(parts, others, gallery)
    assert np.linalg.norm(query) == pytest.approx(1)
    found = gallery @ query
    expected = slow_scores(parts, others, gallery)
    assert np.corrcoef(found, expected)[0, 1] == pytest.approx(1, abs=1e-6)


def test_a_part_whose_scores_hardly_vary_counts_as_much_as_another() -> None:
    # A text is nearly as far from one image as from another: here 100 times as nearly.
    gallery = vectors(200, seed=1)
    image = vectors(1, seed=2)[0]
    text = np.zeros(8, np.float32)
    text[[1, 2]] = 0.01, 1.0
    gallery[:, 2] = 0.5  # the same for all: what text and images have in common
    plain = np.corrcoef(gallery @ (image + text), gallery @ text)[0, 1]
    query = combine(np.stack([image, text]), NONE, gallery)
    normed = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    weighed = [np.corrcoef(normed @ query, normed @ part)[0, 1] for part in (image, text)]
    assert abs(plain) < 0.3
    assert weighed[0] == pytest.approx(weighed[1], abs=0.05)


def test_one_part_alone_is_as_it_is() -> None:
    part = 7 * vectors(1, seed=2)
    np.testing.assert_array_equal(combine(part, NONE, vectors(5, seed=1)), part[0])


def test_the_length_and_the_order_of_parts_do_not_count() -> None:
    gallery, parts, others = vectors(30, seed=1), vectors(3, seed=2), vectors(2, seed=3)
    query = combine(parts, others, gallery)
    other = combine(9 * parts[::-1], 0.1 * others[::-1], 5 * gallery)
    np.testing.assert_allclose(query, other, atol=1e-6)


def test_what_is_unwanted_loses_and_what_is_wanted_wins() -> None:
    gallery = vectors(300, seed=1)
    plain = gallery @ gallery[0]
    query = combine(gallery[:1], gallery[1:2], gallery)
    assert (gallery @ query)[1] - (gallery @ query)[0] < plain[1] - plain[0]
    both = gallery @ combine(gallery[:2], NONE, gallery)
    assert (both > both[1]).sum() < (plain > plain[1]).sum()  # fewer come before it


def test_a_gallery_of_one_image_has_no_deviation() -> None:
    assert np.isfinite(combine(vectors(2, seed=2), NONE, vectors(1, seed=1))).all()


def test_parts_that_cancel_out_are_refused() -> None:
    part, gallery = vectors(1, seed=2), vectors(20, seed=1)
    with pytest.raises(UserError) as error:
        combine(np.concatenate([part, -part]), NONE, gallery)
    assert str(error.value) == ("the query: its parts cancel out; allowed: parts that differ")
