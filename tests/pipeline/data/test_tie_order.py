"""The order of ties: of the image_ids alone, and of no order that they are given in."""

import numpy as np
import pytest

from pipeline.data import tie_order as module
from pipeline.data.tie_order import tie_order

IDS = [f"{folder}/{number:03d}.jpg" for folder in "abcdefgh" for number in range(50)]


def test_every_permutation_of_the_images_gives_one_order() -> None:
    expected = [IDS[row] for row in tie_order(IDS)]
    assert sorted(expected) == IDS
    for seed in range(5):
        permuted = np.random.default_rng(seed).permutation(IDS).tolist()
        assert [permuted[row] for row in tie_order(permuted)] == expected


def test_no_class_is_ahead_of_another() -> None:
    """The mean places of the classes are those of a random order: 200 +- 16 of 400, each."""
    folders = np.array([IDS[row][0] for row in tie_order(IDS)])
    for folder in "abcdefgh":
        assert 140 < np.flatnonzero(folders == folder).mean() < 260


def test_equal_digests_are_ordered_by_image_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_digest", lambda image_id: int(image_id[-1]))
    ids = ["b1", "a2", "c1", "a1"]
    assert [ids[row] for row in tie_order(ids)] == ["a1", "b1", "c1", "a2"]


def test_no_image_has_no_order() -> None:
    assert tie_order([]).tolist() == []
