"""Batches: what is in one, how many there are, and that the seed decides all of it."""

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.errors import UserError
from pipeline.training.batches import BATCHES, sample_batches

SEED = [7, 0]
sizes_of_classes = st.lists(st.integers(1, 12), min_size=1, max_size=10)
few = settings(max_examples=60, deadline=None)


def labels_of(sizes: list[int]) -> NDArray[np.int32]:
    """Labels with gaps, out of order, as those of the train split."""
    labels = np.repeat(np.arange(len(sizes)) * 3 + 1, sizes).astype(np.int32)
    return np.random.default_rng(1).permutation(labels)


def sample(
    name: str,
    *,
    labels: NDArray[np.int32] | LabelSets | None = None,
    triplets: Ints | None = None,
    steps: int | None = None,
    seed: list[int] = SEED,
    **options: Any,
) -> list[Ints]:
    if labels is None:
        labels = np.zeros(0, dtype=np.int32)
    if isinstance(labels, np.ndarray):
        labels = LabelSets(np.arange(len(labels) + 1), labels)
    if name == "random":
        options = {"anchors": None} | options
    kind = BATCHES[name](**options)
    return sample_batches(kind, labels=labels, triplets=triplets, steps=steps, seed=seed)


def same(one: list[Ints], other: list[Ints]) -> bool:
    return np.array_equal(np.array(one), np.array(other))


@st.composite
def pk_cases(choose: st.DrawFn) -> tuple[list[int], int, int]:
    sizes = choose(sizes_of_classes)
    return sizes, choose(st.integers(1, len(sizes))), choose(st.integers(1, max(sizes)))


@few
@given(pk_cases())
def test_pk_has_k_images_of_each_of_p_classes_class_by_class(
    case: tuple[list[int], int, int],
) -> None:
    sizes, classes, images = case
    labels = labels_of(sizes)
    for batch in sample("pk", labels=labels, classes=classes, per_class=images):
        of_classes = labels[batch].reshape(classes, images)
        assert (of_classes == of_classes[:, :1]).all()
        assert len(set(of_classes[:, 0].tolist())) == classes


@few
@given(pk_cases())
def test_pk_repeats_an_image_only_where_its_class_has_too_few(
    case: tuple[list[int], int, int],
) -> None:
    sizes, classes, images = case
    labels = labels_of(sizes)
    shown: list[int] = []
    for batch in sample("pk", labels=labels, classes=classes, per_class=images):
        for group in batch.reshape(classes, images):
            size = int((labels == labels[group[0]]).sum())
            assert len(set(group.tolist())) == min(size, images)
            shown += set(group.tolist())
    assert len(shown) == len(set(shown))  # a pass shows each image in at most one batch


@few
@given(pk_cases())
def test_pk_has_the_same_and_the_most_batches_whatever_the_seed(
    case: tuple[list[int], int, int],
) -> None:
    """The most: as many as B with sum over classes of min(groups, B) >= P B."""
    sizes, classes, images = case
    labels = labels_of(sizes)
    groups = [max(1, size // images) for size in sizes]
    most = max(b for b in range(sum(groups) + 1) if sum(min(g, b) for g in groups) >= classes * b)
    for epoch in range(4):
        batches = sample("pk", labels=labels, seed=[7, epoch], classes=classes, per_class=images)
        assert len(batches) == most >= 1  # never none, so a longer epoch is always filled


@few
@given(pk_cases(), st.integers(1, 40))
def test_pk_gives_the_wanted_number_of_batches(
    case: tuple[list[int], int, int], steps: int
) -> None:
    sizes, classes, images = case
    labels, options = labels_of(sizes), {"classes": classes, "per_class": images}
    batches = sample("pk", labels=labels, steps=steps, **options)
    a_pass = sample("pk", labels=labels, **options)
    assert len(batches) == steps
    assert same(batches[: len(a_pass)], a_pass[:steps])  # fewer steps cut a pass, more continue


def test_pk_shows_every_image_once_where_classes_are_alike() -> None:
    labels = labels_of([8] * 6)
    batches = sample("pk", labels=labels, classes=3, per_class=4)
    assert sorted(np.concatenate(batches).tolist()) == list(range(48))


def test_pk_shows_the_rest_of_a_class_in_another_epoch() -> None:
    labels = labels_of([5, 5])
    passes = [sample("pk", labels=labels, seed=[7, e], classes=2, per_class=4) for e in range(20)]
    shown = {int(row) for batches in passes for batch in batches for row in batch}
    assert shown == set(range(10))


def test_pk_mixes_other_classes_in_each_batch() -> None:
    labels = labels_of([8] * 6)
    batches = sample("pk", labels=labels, classes=3, per_class=2)
    assert len({frozenset(labels[batch].tolist()) for batch in batches}) > 2


def test_triplets_are_in_the_order_anchors_positives_negatives() -> None:
    triplets = np.arange(30).reshape(10, 3)  # 0, 1, 2 · 3, 4, 5 · …
    batches = sample("triplets", triplets=triplets, batch_size=4)
    assert len(batches) == 2
    for batch in batches:
        anchors, positives, negatives = batch.reshape(3, 4)
        assert (anchors % 3 == 0).all()
        assert (positives == anchors + 1).all()
        assert (negatives == anchors + 2).all()
    assert len(set(np.concatenate(batches).tolist())) == 24


def test_random_shows_each_image_at_most_once_in_a_pass() -> None:
    batches = sample("random", labels=labels_of([7, 4, 6]), batch_size=5)
    assert [len(batch) for batch in batches] == [5, 5, 5]
    assert len(set(np.concatenate(batches).tolist())) == 15


OPTIONS: dict[str, dict[str, Any]] = {
    "pk": {"labels": labels_of([4, 4, 5]), "classes": 2, "per_class": 2},
    "triplets": {"triplets": np.arange(33).reshape(11, 3), "batch_size": 4},
    "random": {"labels": labels_of([7, 4]), "batch_size": 3},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_seed_alone_decides(name: str) -> None:
    np.random.seed(1)
    first = sample(name, **OPTIONS[name])
    np.random.seed(2)
    assert same(first, sample(name, **OPTIONS[name]))
    assert not same(first, sample(name, seed=[7, 1], **OPTIONS[name]))
    assert not same(first, sample(name, seed=[8, 0], **OPTIONS[name]))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_steps_cut_a_pass_or_continue_with_another(name: str, steps: int) -> None:
    batches, a_pass = sample(name, steps=steps, **OPTIONS[name]), sample(name, **OPTIONS[name])
    assert len(batches) == steps
    assert same(batches[: len(a_pass)], a_pass[:steps])
    if steps == 50:
        assert not same(batches[len(a_pass) : 2 * len(a_pass)], a_pass)


THREE = labels_of([4, 2, 1])


@pytest.mark.parametrize(
    ("name", "given_", "text"),
    [
        (
            "pk",
            {"labels": THREE, "classes": 4, "per_class": 1},
            "batches.pk.classes: found 4; the train split has 3 classes; allowed: at most 3",
        ),
        (
            "pk",
            {"labels": THREE, "classes": 3, "per_class": 5},
            "batches.pk.per_class: found 5; the largest class of the train split has 4 "
            "images; allowed: at most 4",
        ),
        (
            "pk",
            {"classes": 1, "per_class": 1},
            "batches.pk.classes: found 1; the train split has 0 classes; allowed: at most 0",
        ),
        (
            "triplets",
            {"triplets": np.zeros((5, 3), dtype=np.int64), "batch_size": 6},
            "batches.triplets.batch_size: found 6; 5 triplets were mined; allowed: at most 5",
        ),
        (
            "triplets",
            {"batch_size": 6},
            "batches.triplets.batch_size: found 6; 0 triplets were mined; allowed: at most 0",
        ),
        (
            "random",
            {"labels": THREE, "batch_size": 8},
            "batches.random.batch_size: found 8; the train split has 7 images; allowed: at most 7",
        ),
    ],
)
def test_too_little_for_one_batch_is_reported(name: str, given_: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        sample(name, **given_)
    assert str(error.value) == text


@pytest.mark.parametrize("name", OPTIONS)
def test_just_enough_for_one_batch_is_enough(name: str) -> None:
    options: dict[str, Any] = {
        "pk": {"labels": THREE, "classes": 3, "per_class": 4},
        "triplets": {"triplets": np.zeros((5, 3), dtype=np.int64), "batch_size": 5},
        "random": {"labels": THREE, "batch_size": 7},
    }[name]
    assert len(sample(name, **options)) == 1
    assert len(sample(name, steps=9, **options)) == 9


@pytest.mark.parametrize(
    ("name", "sizes", "options", "digest"),
    [
        ("pk", [8, 5, 3, 12, 7, 1], {"classes": 3, "per_class": 4}, "14be21bfee446519"),
        ("pk", [10] * 40, {"classes": 16, "per_class": 4}, "4f5bea39b2e985b6"),
        ("random", [7, 4], {"batch_size": 3}, "50ad6335a90fa65f"),
    ],
)
def test_batches_of_one_label_an_image_are_those_of_earlier_releases(
    name: str, sizes: list[int], options: dict[str, Any], digest: str
) -> None:
    batches = sample(name, labels=labels_of(sizes), steps=50, seed=[7, 3], **options)
    found = hashlib.sha256(np.array(batches).astype("<i8").tobytes()).hexdigest()
    assert found.startswith(digest)


# --- images of several labels ----------------------------------------------------------------


def crowd(count: int, *, labels: int = 8, seed: int = 0) -> LabelSets:
    """Label sets as in COCO: one label in half of the images, each other one rarer."""
    rng = np.random.default_rng(seed)
    share = 0.5 / np.arange(1, labels + 1)
    has = rng.random((count, labels)) < share
    has[~has.any(axis=1), 0] = True
    return from_lists([np.flatnonzero(row).tolist() for row in has])


@few
@given(st.integers(0, 999), st.integers(2, 5), st.integers(2, 4))
def test_pk_takes_k_different_images_that_have_the_class(
    seed: int, classes: int, images: int
) -> None:
    labels = crowd(200, labels=5, seed=seed)  # each label in 10 images and more
    sets = [set(labels.values[a:b].tolist()) for a, b in itertools.pairwise(labels.starts)]
    batches = sample("pk", labels=labels, seed=[seed], classes=classes, per_class=images)
    assert batches
    for batch in batches:
        assert len(set(batch.tolist())) == classes * images
        common = [set.intersection(*(sets[r] for r in g)) for g in batch.reshape(classes, images)]
        assert distinct_choice(common)


def distinct_choice(options: list[set[int]]) -> bool:
    """Whether a different member can be chosen from each set."""
    return any(len(set(chosen)) == len(chosen) for chosen in itertools.product(*options))


def test_pk_shows_an_image_once_for_each_of_its_labels() -> None:
    labels = from_lists([[0, 1]] * 8 + [[2, 3]] * 8)
    batches = sample("pk", labels=labels, classes=1, per_class=4)
    assert len(batches) == 8
    assert np.bincount(np.concatenate(batches), minlength=16).tolist() == [2] * 16


def test_pk_has_as_many_batches_in_every_epoch_though_labels_overlap() -> None:
    for seed in range(20):
        labels = crowd(60, labels=6, seed=seed)
        passes = [
            sample("pk", labels=labels, seed=[7, e], classes=4, per_class=3) for e in range(6)
        ]
        assert len({len(batches) for batches in passes}) == 1


def test_pk_repeats_images_of_too_small_a_class_alone() -> None:
    labels = from_lists([[0]] * 8 + [[1]] * 8 + [[2, 1]] * 2)
    for seed in range(20):
        for batch in sample("pk", labels=labels, seed=[seed], classes=2, per_class=4):
            repeated = {row for row in batch.tolist() if (batch == row).sum() > 1}
            assert repeated in (set(), {16, 17})


def test_pk_of_classes_that_are_the_same_images_is_reported() -> None:
    with pytest.raises(UserError) as error:
        sample("pk", labels=from_lists([[0, 1]] * 5), classes=2, per_class=3)
    assert str(error.value) == (
        "batches.pk: found 2 classes of 3 images; the classes of the train split share too many of "
        "their images for such a batch; allowed: fewer classes or images, or batches.name random"
    )
