"""Batches: what is in one, how many there are, and that the seed decides all of it."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.errors import UserError
from pipeline.training.batches import BATCHES

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
    seed: int = 7,
    epoch: int = 0,
    **options: Any,
) -> list[Ints]:
    """Return the batches of one epoch."""
    epochs = sample_epochs(
        name, labels=labels, triplets=triplets, steps=steps, seed=seed, **options
    )
    return next(itertools.islice(epochs, epoch, None))


def sample_epochs(
    name: str,
    *,
    labels: NDArray[np.int32] | LabelSets | None = None,
    triplets: Ints | None = None,
    steps: int | None = None,
    seed: int = 7,
    **options: Any,
) -> Iterator[list[Ints]]:
    if labels is None:
        labels = np.zeros(0, dtype=np.int32)
    if isinstance(labels, np.ndarray):
        labels = LabelSets(np.arange(len(labels) + 1), labels)
    if name == "random":
        options = {"anchors": None} | options
    return BATCHES[name](**options).epochs(labels, triplets, steps=steps, seed=seed)


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
def test_pk_repeats_an_image_in_a_batch_only_where_its_class_has_too_few(
    case: tuple[list[int], int, int],
) -> None:
    sizes, classes, images = case
    labels = labels_of(sizes)
    epochs = sample_epochs("pk", labels=labels, classes=classes, per_class=images)
    for batch in itertools.chain(*itertools.islice(epochs, 4)):
        for group in batch.reshape(classes, images):
            size = int((labels == labels[group[0]]).sum())
            assert len(set(group.tolist())) == min(size, images)


@few
@given(pk_cases())
def test_pk_has_the_fewest_batches_that_have_as_many_images_as_there_are(
    case: tuple[list[int], int, int],
) -> None:
    sizes, classes, images = case
    labels = labels_of(sizes)
    count = math.ceil(sum(max(size, images) for size in sizes) / (classes * images))
    epochs = sample_epochs("pk", labels=labels, classes=classes, per_class=images)
    for batches in itertools.islice(epochs, 4):
        assert len(batches) == count >= 1


def fair_appearances(sizes: list[int], *, classes: int, images: int, batches: int) -> list[float]:
    """The slow oracle: raise all classes' shares together, in small steps, until P places are full.

    By bisection over s in sum of min(1, s n) = P.
    """
    weights = [max(size, images) for size in sizes]
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        full = sum(min(1, middle * weight) for weight in weights) >= classes
        low, high = (low, middle) if full else (middle, high)
    return [batches * min(1, high * weight) for weight in weights]


@few
@given(pk_cases(), st.sampled_from([None, 1, 2, 5, 40]))
def test_pk_shows_a_class_in_proportion_to_its_images_but_once_a_batch(
    case: tuple[list[int], int, int], steps: int | None
) -> None:
    sizes, classes, images = case
    labels, options = labels_of(sizes), {"classes": classes, "per_class": images}
    for batches in itertools.islice(sample_epochs("pk", labels=labels, steps=steps, **options), 3):
        fair = fair_appearances(sizes, classes=classes, images=images, batches=len(batches))
        shown = np.bincount(labels[np.concatenate(batches)], minlength=3 * len(sizes))
        for number, expected in enumerate(fair):
            found = shown[3 * number + 1] / images
            assert math.floor(expected + 1e-6) <= found <= math.ceil(expected - 1e-6)
            if steps is None:
                least = min(len(batches), max(1, sizes[number] // images))
                assert found >= least


def count_shown(epochs: Iterator[list[Ints]], rows: int, *, stop: int) -> NDArray[np.int64]:
    """Return int64 [stop, rows]: how often each epoch shows each row."""
    return np.stack(
        [np.bincount(np.concatenate(b), minlength=rows) for b in itertools.islice(epochs, stop)]
    )


@few
@given(pk_cases())
def test_pk_shows_every_image_within_the_promised_epochs(case: tuple[list[int], int, int]) -> None:
    sizes, classes, images = case
    labels, options = labels_of(sizes), {"classes": classes, "per_class": images}
    batches = len(sample("pk", labels=labels, **options))
    within = max(2, math.ceil(max(sizes) / (images * batches)))
    epochs = sample_epochs("pk", labels=labels, **options)
    shown = count_shown(epochs, len(labels), stop=5 * within)
    assert (shown[:within].sum(axis=0) >= 1).all()
    for start in range(3 * within):
        assert (shown[start : start + 2 * within].sum(axis=0) >= 1).all()


@few
@given(pk_cases())
def test_pk_shows_an_image_again_only_after_all_others_of_its_class(
    case: tuple[list[int], int, int],
) -> None:
    sizes, classes, images = case
    labels, options = labels_of(sizes), {"classes": classes, "per_class": images}
    shown = np.zeros(len(labels), dtype=int)
    epochs = sample_epochs("pk", labels=labels, **options)
    for batch in itertools.chain(*itertools.islice(epochs, 5)):
        for group in batch.reshape(classes, images):
            of_class = labels == labels[group[0]]
            shown += np.bincount(group, minlength=len(labels))
            if of_class.sum() >= images:
                assert np.ptp(shown[of_class]) <= 1


def test_pk_forgets_no_image_of_a_large_class() -> None:
    """One class of 500 and 20 of 6: 111 of the 620 images were not seen in 30 epochs."""
    labels = labels_of([500, *[6] * 20])
    epochs = sample_epochs("pk", labels=labels, classes=16, per_class=4)
    shown = count_shown(epochs, len(labels), stop=30)
    assert shown.sum(axis=1).tolist() == [640] * 30  # 10 batches of 64, of 620 images
    large = labels == 1
    assert (shown[:13].sum(axis=0) >= 1).all()  # 40 an epoch of 500
    assert shown[:, large].sum(axis=1).tolist() == [40] * 30
    assert shown[:, large].sum(axis=0).min() >= 2
    small = shown[:, ~large].sum(axis=0)
    assert small.max() - small.min() <= 0.2 * small.mean()  # all others alike


def test_pk_shows_every_image_once_an_epoch_where_classes_are_alike() -> None:
    labels = labels_of([8] * 6)
    epochs = sample_epochs("pk", labels=labels, classes=3, per_class=4)
    assert (count_shown(epochs, 48, stop=5) == 1).all()


def test_pk_shows_the_rest_of_a_class_in_the_next_epoch() -> None:
    labels = labels_of([10] * 72)
    epochs = sample_epochs("pk", labels=labels, classes=16, per_class=4)
    shown = count_shown(epochs, 720, stop=20)
    assert (shown[:2].sum(axis=0) >= 1).all()
    total = shown.sum(axis=0)
    assert total.min() >= 18
    assert total.max() <= 26  # 12 batches of 64 an epoch: 21.3 on average


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
    assert not same(first, sample(name, epoch=1, **OPTIONS[name]))
    assert not same(first, sample(name, seed=8, **OPTIONS[name]))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_steps_cut_a_pass_or_continue_with_another(name: str, steps: int) -> None:
    batches, a_pass = sample(name, steps=steps, **OPTIONS[name]), sample(name, **OPTIONS[name])
    assert len(batches) == steps
    if name != "pk":  # its images go on in the next epoch, so that there are no passes
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
            "batches.pk.classes: found 4; the train split has 3 classes; allowed: auto, or at "
            "most 3",
        ),
        (
            "pk",
            {"labels": THREE, "classes": 3, "per_class": 5},
            "batches.pk.per_class: found 5; the largest class of the train split has 4 "
            "images; allowed: auto, or at most 4",
        ),
        (
            "pk",
            {"classes": 1, "per_class": 1},
            "batches.pk.classes: found 1; the train split has 0 classes; allowed: auto, or at "
            "most 0",
        ),
        (
            "triplets",
            {"triplets": np.zeros((5, 3), dtype=np.int64), "batch_size": 6},
            "batches.triplets.batch_size: found 6; allowed: at most 5, the number of triplets",
        ),
        (
            "triplets",
            {"batch_size": 6},
            "batches.triplets.batch_size: found 6; allowed: at most 0, the number of triplets",
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
        ("pk", [8, 5, 3, 12, 7, 1], {"classes": 3, "per_class": 4}, "61ec51b428c0afc0"),
        ("pk", [10] * 40, {"classes": 16, "per_class": 4}, "7b27be39a0291bef"),
        ("random", [7, 4], {"batch_size": 3}, "50ad6335a90fa65f"),
    ],
)
def test_batches_of_one_label_an_image_keep_their_bits(
    name: str, sizes: list[int], options: dict[str, Any], digest: str
) -> None:
    batches = sample(name, labels=labels_of(sizes), steps=50, epoch=3, **options)
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
    batches = sample("pk", labels=labels, seed=seed, classes=classes, per_class=images)
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
        epochs = sample_epochs("pk", labels=labels, classes=4, per_class=3)
        assert len({len(batches) for batches in itertools.islice(epochs, 6)}) == 1


def test_pk_forgets_no_image_though_labels_overlap() -> None:
    labels = crowd(400, labels=8)
    epochs = sample_epochs("pk", labels=labels, classes=4, per_class=4)
    shown = count_shown(epochs, 400, stop=20)
    assert (shown.sum(axis=0) >= 5).all()


def test_pk_repeats_images_of_too_small_a_class_alone() -> None:
    labels = from_lists([[0]] * 8 + [[1]] * 8 + [[2, 1]] * 2)
    for seed in range(20):
        for batch in sample("pk", labels=labels, seed=seed, classes=2, per_class=4):
            repeated = {row for row in batch.tolist() if (batch == row).sum() > 1}
            assert repeated in (set(), {16, 17})


def test_pk_of_classes_that_are_the_same_images_is_reported() -> None:
    with pytest.raises(UserError) as error:
        sample("pk", labels=from_lists([[0, 1]] * 5), classes=2, per_class=3)
    assert str(error.value) == (
        "batches.pk: found 2 classes of 3 images; the classes of the train split share too many of "
        "their images for such a batch; allowed: fewer classes or images, or batches.name random"
    )


@pytest.mark.parametrize(
    ("sizes", "given_", "fitted"),
    [
        ([9] * 30, {}, (16, 4)),
        ([9] * 5, {}, (5, 4)),
        ([3] * 40, {}, (21, 3)),
        ([2] * 40, {}, (32, 2)),
        ([1, 1, 2], {}, (3, 2)),  # a class of one image is shown twice
        ([1, 9, 9], {}, (3, 4)),
        ([99] * 30, {"per_class": 32}, (2, 32)),
        ([99] * 30, {"classes": 30}, (30, 4)),
    ],
)
def test_auto_fits_pk_to_the_classes(
    sizes: list[int], given_: dict[str, int], fitted: tuple[int, int]
) -> None:
    labels = from_lists([[int(label)] for label in labels_of(sizes)])
    options = BATCHES["pk"](**({"classes": "auto", "per_class": "auto"} | given_)).fit(labels)
    assert (options.classes, options.per_class) == fitted  # type: ignore[attr-defined]
    assert options.find_misfits(labels) == []
    (first, *_) = next(options.epochs(labels, None, steps=1, seed=7))
    assert len(first) == options.images


def test_too_few_triplets_are_known_before_they_are_mined() -> None:
    options = BATCHES["triplets"](batch_size=32)
    assert options.find_too_few(32) == []
    assert options.find_too_few(31) == [
        "batches.triplets.batch_size: found 32; allowed: at most 31, the number of triplets"
    ]
    assert BATCHES["random"](batch_size=32, anchors=None).find_too_few(0) == []
