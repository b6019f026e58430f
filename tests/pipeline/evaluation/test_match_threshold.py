"""The threshold of a match and its error rates, against a plain search."""

import numpy as np
import pytest

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import from_lists
from pipeline.evaluation import match_threshold
from pipeline.evaluation.match_threshold import measure_threshold

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
    others = [
        best(images, sets, q, rows["train"] + rows["val"], relevant=False) for q in rows["val"]
    ]
    threshold = found["match_threshold"]
    above = np.mean([score > threshold for score in others])
    assert above <= RATE < above + 2 / len(others)
    everything = list(range(len(sets)))
    false = [best(images, sets, q, everything, relevant=False) > threshold for q in rows["test"]]
    missed = [best(images, sets, q, everything, relevant=True) <= threshold for q in rows["test"]]
    assert found["false_match_rate"] == pytest.approx(np.mean(false), abs=1e-6)
    assert found["false_non_match_rate"] == pytest.approx(np.mean(missed), abs=1e-6)


def test_without_validation_there_is_no_threshold() -> None:
    images, sets = make(40)
    images.split[:] = "test"
    labels = from_lists([sorted(each) for each in sets])
    assert measure_threshold(images, labels, rate=RATE, distance="cosine") == {}


def test_of_many_queries_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sets = make()
    labels = from_lists([sorted(each) for each in sets])
    whole = measure_threshold(images, labels, rate=RATE, distance="cosine")
    monkeypatch.setattr(match_threshold, "MOST_QUERIES", 20)
    found = measure_threshold(images, labels, rate=RATE, distance="cosine")
    assert found["match_threshold"] != whole["match_threshold"]
    # A rate of 20 queries is a multiple of 1/20.
    assert found["false_match_rate"] * 20 == pytest.approx(round(found["false_match_rate"] * 20))
