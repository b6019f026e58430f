"""The threshold of a match and its error rates, against a plain search."""

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.evaluation import match_threshold
from pipeline.evaluation.match_threshold import measure_threshold
from pipeline.evaluation.retrieval_task import Searched
from pipeline.index.distances import GalleryScorer
from pipeline.index.exact_search import average_with_nearest

RATE = 0.2


def make(images: int = 300) -> tuple[EmbeddedSplit, list[set[int]]]:
    rng = np.random.default_rng(2)
    sets = [
        set(rng.choice(30, size=rng.integers(1, 3), replace=False).tolist()) for _ in range(images)
    ]
    centers = rng.normal(size=(30, 6))
    vectors = np.stack([centers[min(each)] for each in sets]) + rng.normal(size=(images, 6))
    split = rng.choice(np.array(["train", "val", "test"], dtype=object), size=images)
    test = split == "test"
    ids = np.array([f"{n:03}" for n in range(images)], dtype=object)
    return EmbeddedSplit(ids, vectors.astype(np.float32), split, test, test), sets


def best(
    images: EmbeddedSplit, sets: list[set[int]], query: int, among: list[int], *, relevant: bool
) -> float:
    unit = images.vectors / np.linalg.norm(images.vectors, axis=1, keepdims=True)
    scores = [
        float(unit[query] @ unit[other])
        for other in among
        if other != query and bool(sets[query] & sets[other]) is relevant
    ]
    return max(scores, default=-np.inf)


def test_the_threshold_and_its_rates_are_those_of_a_plain_search() -> None:
    images, sets = make()
    labels = from_lists([sorted(each) for each in sets])
    found = measure_threshold(images, labels, rate=RATE, distance="cosine")
    rows = {
        name: np.flatnonzero(images.split == name).tolist() for name in ("train", "val", "test")
    }
    known = rows["train"] + rows["val"]
    others = [best(images, sets, q, known, relevant=False) for q in rows["val"]]
    candidates = [sum(not sets[q] & sets[other] for other in known) for q in rows["val"]]
    # One of len(sets) images exceeds it with the chance RATE, if each does independently.
    share = 1 - (1 - RATE) ** (np.mean(candidates) / len(sets))
    assert 0.5 * RATE < share < 0.8 * RATE
    threshold = found["match_threshold"]
    above = np.mean([score > threshold for score in others])
    assert above <= share < above + 1 / len(others)
    assert found["match_threshold_queries"] == len(others)
    everything = list(range(len(sets)))
    false = [best(images, sets, q, everything, relevant=False) > threshold for q in rows["test"]]
    missed = [best(images, sets, q, everything, relevant=True) <= threshold for q in rows["test"]]
    assert found["false_match_rate"] == pytest.approx(np.mean(false), abs=1e-6)
    assert found["false_non_match_rate"] == pytest.approx(np.mean(missed), abs=1e-6)


@pytest.mark.parametrize(("validation", "chosen"), [(0, False), (19, False), (20, True)])
def test_too_few_validation_queries_choose_no_threshold(
    validation: int, chosen: bool, caplog: pytest.LogCaptureFixture
) -> None:
    images, sets = make(80)
    images.split[:] = ["val"] * validation + ["train"] * (40 - validation) + ["test"] * 40
    labels = from_lists([sorted(each) for each in sets])
    with caplog.at_level(logging.INFO):
        found = measure_threshold(images, labels, rate=RATE, distance="cosine")
    line = (
        f"match_threshold: none is chosen by {validation} validation queries; allowed: 20 or more"
    )
    assert (caplog.messages == []) is chosen
    assert caplog.messages in ([], [line])
    assert (found != {}) is chosen


def test_of_many_queries_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sets = make()
    labels = from_lists([sorted(each) for each in sets])
    whole = measure_threshold(images, labels, rate=RATE, distance="cosine")
    monkeypatch.setattr(match_threshold, "MOST_QUERIES", 20)
    found = measure_threshold(images, labels, rate=RATE, distance="cosine")
    assert found["match_threshold"] != whole["match_threshold"]
    # A rate of 20 queries is a multiple of 1/20.
    assert found["false_match_rate"] * 20 == pytest.approx(round(found["false_match_rate"] * 20))


def make_world(
    seed: int, *, classes: int, per_class: int, spread: float
) -> tuple[EmbeddedSplit, LabelSets, NDArray[np.float32]]:
    """Return images, their labels, and an image of each of 60 new classes.

    Classes lie around ten kinds, and differ in how much their images do.
    """
    rng = np.random.default_rng(seed)
    known, new, dim = classes, 60, 16
    kinds = rng.normal(size=(10, dim))
    centers = kinds[rng.integers(10, size=known + new)] + 0.5 * rng.normal(size=(known + new, dim))
    noise = 0.7 * np.exp(spread * rng.normal(size=known + new))
    label = np.concatenate([np.repeat(np.arange(known), per_class), np.arange(known, known + new)])
    vectors = centers[label] + noise[label, None] * rng.normal(size=(len(label), dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    size = known * per_class
    part = rng.permutation(known)[label[:size]] / known  # whole classes are held out
    split = np.where(part < 0.1, "val", np.where(part < 0.5, "train", "test")).astype(object)
    ids = np.array([f"{n:05}" for n in range(size)], dtype=object)
    images = EmbeddedSplit(ids, vectors[:size], split, split == "test", split == "test")
    return images, from_lists([[int(each)] for each in label[:size]]), vectors[size:]


def rates_of_a_world(seed: int, **world: Any) -> list[float]:
    """Return the rates of false matches of new classes, with the threshold and without its
    correction for the number of images."""
    images, labels, new = make_world(seed, **world)
    threshold = measure_threshold(images, labels, rate=RATE, distance="cosine")["match_threshold"]
    label, val = labels.first(), images.split == "val"
    known = val | (images.split == "train")
    scores = images.vectors[val] @ images.vectors[known].T
    scores[label[val][:, None] == label[known]] = -1
    uncorrected = float(np.quantile(scores.max(axis=1), 1 - RATE))
    nearest = (new @ images.vectors.T).max(axis=1)
    return [float((nearest > each).mean()) for each in (threshold, uncorrected)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "within"),
    [
        ({"classes": 60, "per_class": 20, "spread": 0.0}, 0.03),
        ({"classes": 60, "per_class": 20, "spread": 0.4}, 0.03),
        ({"classes": 300, "per_class": 5, "spread": 0.3}, 0.03),
        ({"classes": 10, "per_class": 100, "spread": 0.2}, 0.4),  # one is for validation
    ],
    ids=str,
)
def test_new_classes_get_false_matches_about_as_often_as_wanted(
    world: dict[str, Any], within: float
) -> None:
    corrected, uncorrected = np.array([rates_of_a_world(seed, **world) for seed in range(30)]).T
    print(world, f"wanted {RATE}; {corrected.mean():.3f}; uncorrected {uncorrected.mean():.3f}")
    assert abs(corrected.mean() - RATE) < min(within, abs(uncorrected.mean() - RATE))
    assert np.abs(corrected - RATE).mean() < np.abs(uncorrected - RATE).mean()


@pytest.mark.slow
def test_of_expanded_queries_the_rate_is_that_of_new_classes() -> None:
    """A query whose class is there is expanded with it; one of a new class with wrong images."""
    found = []
    for seed in range(12):
        images, labels, new = make_world(seed, classes=60, per_class=20, spread=0.4)
        told = measure_threshold(
            images, labels, rate=RATE, distance="cosine", searched=Searched(query_expansion=3)
        )
        scorer = GalleryScorer(images.vectors, distance="cosine")
        nowhere = np.full(len(new), -1)
        expanded = average_with_nearest(new, scorer, images.vectors, nowhere, 3)
        matched = scorer.score(expanded).max(axis=1) > told["match_threshold"]
        found.append((matched.mean(), told["false_match_rate"]))
    true, reported = np.mean(found, axis=0)
    assert true < RATE + 0.03
    assert abs(true - reported) < 0.05
