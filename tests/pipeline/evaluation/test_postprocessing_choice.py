"""Post-processing is fitted to training images and chosen by validation, and only if it helps."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.errors import UserError
from pipeline.evaluation import postprocessing_choice
from pipeline.evaluation.measure import measure
from pipeline.evaluation.postprocessing_choice import choose_postprocessing, fit_postprocessing
from pipeline.evaluation.retrieval_task import Searched
from pipeline.index import reranking
from pipeline.index.database_augmentation import vectors_to_index
from pipeline.index.postprocessing import NOTHING, Postprocessing
from pipeline.index.postprocessing_options import ListedSteps, Steps

CLASSES, EACH, DIMENSIONS = 30, 8, 16
LISTED = ListedSteps(
    prefix=[None],
    center=[False, True],
    pca=[None, 2, 4],
    whiten=[0.0, 0.5],
    database_augmentation=[0, 3],
    query_expansion=[0, 3],
    rerank=[0, 4],
)


def images(*, shift: float, noise: float, seed: int = 0) -> EmbeddedSplit:
    """Classes in 4 dimensions; in the others noise, and far from the origin by `shift`.

    Ten classes are for training, ten for validation, ten for test.
    """
    rng = np.random.default_rng(seed)
    count = CLASSES * EACH
    vectors = noise * rng.normal(size=(count, DIMENSIONS))
    vectors[:, :4] += np.repeat(rng.normal(size=(CLASSES, 4)), EACH, axis=0)
    vectors[:, 5] += shift
    split = np.repeat(np.array(["train", "val", "test"], object), count // 3)
    return EmbeddedSplit(
        ids=np.array([f"{row:03}" for row in range(count)], object),
        vectors=vectors.astype(np.float32),
        split=split,
        is_query=split == "test",
        is_gallery=split == "test",
    )


LABELS = from_lists([[row // EACH] for row in range(CLASSES * EACH)])


def choose(images: EmbeddedSplit, labels: LabelSets = LABELS) -> Postprocessing:
    return choose_postprocessing(images, labels, LISTED, distance="cosine", seed=7)


def apart(images: EmbeddedSplit) -> tuple[EmbeddedSplit, LabelSets]:
    """Return the images as if each three classes were one, the gallery of training alone."""
    train, test = (images.split == split for split in ("train", "test"))
    labels = from_lists([[row // EACH % (CLASSES // 3)] for row in range(CLASSES * EACH)])
    vectors = images.vectors.copy()
    of_train = np.tile(vectors[train][:, :4], (3, 1))
    noise = np.random.default_rng(5).normal(size=of_train.shape)
    vectors[:, :4] = of_train + 0.5 * noise
    return replace(images, vectors=vectors, is_query=test, is_gallery=train), labels


def mean_of(
    images: EmbeddedSplit,
    split: str,
    done: Postprocessing,
    metric: str = "map",
    labels: LabelSets = LABELS,
) -> float:
    is_query = images.split == split
    is_gallery = (
        images.is_gallery if (images.is_gallery & (images.split == "train")).any() else is_query
    )
    images = replace(images, vectors=done.apply(images.vectors))
    indexed = vectors_to_index(done, images) if done.steps.database_augmentation else None
    searched = Searched(indexed, done.steps.query_expansion, done.steps.rerank)
    how = {"k": (1,), "distance": "cosine", "searched": searched}
    return measure(images.vectors, labels, is_query, is_gallery, **how).means[metric]


def told(done: Postprocessing, before: float, after: float) -> str:
    return f"postprocess: {done.steps.describe()}: map {after:.3f}, before {before:.3f}; recall@1 "


def test_the_map_that_is_best_on_validation_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    shifted = images(shift=1, noise=0.5)
    with caplog.at_level(logging.INFO):
        done = choose(shifted)
    assert done.steps.describe() == "centered, 4 axes"
    before, after = (mean_of(shifted, "val", each) for each in (NOTHING, done))
    assert after > before + 0.05
    assert mean_of(shifted, "test", done) > mean_of(shifted, "test", NOTHING) + 0.02
    assert caplog.messages[0].startswith(told(done, before, after))
    assert all(each.endswith("; not clearly better, so not done") for each in caplog.messages[1:])
    # By hand, all maps that are listed.
    first = mean_of(shifted, "val", NOTHING, "recall_at_1")
    for center in (False, True):
        for pca in (None, 2, 4):
            for whiten in (0.0, 0.5):
                steps = Steps(
                    prefix=None,
                    **{"center": center, "pca": pca, "whiten": whiten},
                    database_augmentation=0,
                    query_expansion=0,
                    rerank=0,
                )
                other = fit_postprocessing(shifted, steps, distance="cosine", seed=7)
                if mean_of(shifted, "val", other, "recall_at_1") >= first:
                    assert mean_of(shifted, "val", other) <= after


@pytest.mark.parametrize(
    ("step", "counts"),
    [("database_augmentation", (3, 6)), ("query_expansion", (3, 6)), ("rerank", (10, 20))],
)
def test_neighbors_have_a_part_where_that_is_clearly_better(
    step: str,
    counts: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postprocessing_choice, "TOP", 60)  # of a gallery of 80
    monkeypatch.setattr(reranking, "TOP", 60)
    shifted, labels = apart(images(shift=0, noise=0.7))
    nothing = {"database_augmentation": [0], "query_expansion": [0], "rerank": [0]}
    listed = ListedSteps(
        prefix=[None], center=[False], pca=[None], whiten=[0.0], **nothing | {step: [0, *counts]}
    )
    with caplog.at_level(logging.INFO):
        done = choose_postprocessing(shifted, labels, listed, distance="cosine", seed=7)
    tried = {count: NOTHING.with_steps(**{step: count}) for count in (0, *counts)}
    values = {c: mean_of(shifted, "val", d, labels=labels) for c, d in tried.items()}
    best = max(values, key=lambda count: values[count])
    assert best > 0
    words = {"rerank": f"re-ranked by {best} neighbors"}
    assert done.steps.describe() == words.get(step, f"{step.replace('_', ' ')} {best}")
    assert [message.split("; recall@1")[0] for message in caplog.messages] == [
        f"postprocess: {done.steps.describe()}: map {values[best]:.3f}, before {values[0]:.3f}"
    ]
    test = [mean_of(shifted, "test", each, labels=labels) for each in (NOTHING, done)]
    assert test[1] > test[0] + 0.01


@pytest.mark.parametrize("own", ["test", "val"])
def test_a_gallery_with_its_queries_is_not_augmented(own: str) -> None:
    shifted = images(shift=5, noise=0.3)
    if own == "val":
        half = np.arange(len(shifted.split)) % 2 == 0
        test = shifted.split == "test"
        shifted = replace(shifted, is_query=test & half, is_gallery=test & ~half)
    assert choose(shifted).steps.database_augmentation == 0


def test_what_does_not_clearly_help_is_not_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose(images(shift=0, noise=0.01)) is NOTHING
    assert caplog.messages == []  # all is found already, so nothing is better


def test_of_too_few_classes_nothing_can_be_told(caplog: pytest.LogCaptureFixture) -> None:
    few = images(shift=5, noise=0.3)
    val = np.flatnonzero(few.split == "val")
    split = few.split.copy()
    split[val[: 5 * EACH]] = "train"
    with caplog.at_level(logging.INFO):
        assert choose(replace(few, split=split)) is NOTHING
    assert all(each.endswith("; not clearly better, so not done") for each in caplog.messages)
    assert caplog.messages


@pytest.mark.parametrize("lacking", ["train", "val"])
def test_without_images_to_choose_by_nothing_is_done(
    lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    shifted = images(shift=5, noise=0.3)
    split = np.where(shifted.split == lacking, "test", shifted.split)
    assert choose(replace(shifted, split=split)) is NOTHING
    assert caplog.messages == ["postprocess: nothing is done: there are no images to choose it by"]


def test_fixed_steps_need_training_images(caplog: pytest.LogCaptureFixture) -> None:
    shifted = images(shift=5, noise=0.3)
    steps = Steps(
        prefix=None,
        center=True,
        pca=2,
        whiten=0.0,
        database_augmentation=0,
        query_expansion=2,
        rerank=0,
    )
    untrained = replace(shifted, split=np.full(len(shifted.split), "test", object))
    done = fit_postprocessing(untrained, steps, distance="cosine", seed=0)
    assert (done.map, done.steps.query_expansion) == (None, 2)
    assert caplog.messages == [
        "postprocess: no center, pca and whiten are done, as the split has no training images"
    ]
    alike = replace(shifted, vectors=np.ones_like(shifted.vectors))
    assert fit_postprocessing(alike, steps, distance="cosine", seed=0).map is None
    assert caplog.messages[1].endswith("as the split has training images that are all alike")


def test_test_images_change_nothing() -> None:
    shifted = images(shift=5, noise=0.3)
    vectors = shifted.vectors.copy()
    vectors[shifted.split == "test"] += np.random.default_rng(1).normal(size=DIMENSIONS)
    before, after = choose(shifted), choose(replace(shifted, vectors=vectors))
    probe = shifted.vectors[:5]
    assert before.steps.describe() == after.steps.describe()
    assert before.apply(probe).tobytes() == after.apply(probe).tobytes()


def test_of_many_images_some_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = images(shift=5, noise=0.3)
    monkeypatch.setattr(postprocessing_choice, "MOST_QUERIES", 40)
    monkeypatch.setattr(postprocessing_choice, "MOST_GALLERY", 60)
    measured = []
    plain = postprocessing_choice.measure

    def count(vectors, labels, is_query, is_gallery, **options):  # type: ignore[no-untyped-def]
        measured.append((int(is_query.sum()), int(is_gallery.sum())))
        return plain(vectors, labels, is_query, is_gallery, **options)

    monkeypatch.setattr(postprocessing_choice, "measure", count)
    choose(shifted)
    assert set(measured) == {(40, 60)}


def test_a_prefix_is_found_where_the_rest_is_noise() -> None:
    noisy = images(shift=0, noise=0.5)  # the classes are in the first four numbers
    listed = ListedSteps(
        prefix=[None, 4, 99],
        **{"center": [False], "pca": [None], "whiten": [0.0]},
        database_augmentation=[0],
        query_expansion=[0],
        rerank=[0],
    )
    done = choose_postprocessing(noisy, LABELS, listed, distance="cosine", seed=7)
    assert (done.steps.describe(), done.dim) == ("the first 4 numbers", 4)


def test_a_prefix_longer_than_the_embeddings_is_refused() -> None:
    steps = Steps(
        **{"prefix": 17, "center": False, "pca": None, "whiten": 0.0},
        database_augmentation=0,
        query_expansion=0,
        rerank=0,
    )
    with pytest.raises(UserError) as caught:
        fit_postprocessing(images(shift=0, noise=1), steps, distance="cosine", seed=0)
    assert str(caught.value) == (
        "postprocess.fixed.prefix: found 17; allowed: at most the length of the embeddings, 16"
    )
