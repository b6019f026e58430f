"""Failures, successes and label noise, by hand and against a plain loop over every query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import from_lists
from pipeline.data.tables import (
    CONFUSIONS,
    FAILURES,
    NEAR_DUPLICATES,
    SUCCESSES,
    read_table,
    write_table,
)
from pipeline.evaluation.failures import FailureAnalysis, analyze_failures
from pipeline.evaluation.measure import measure
from pipeline.evaluation.retrieval_task import prepare_task
from pipeline.health.perceptual_hashes import COLOR_TOLERANCE, GRID, Hashes
from pipeline.index.relevance import find_relevance

FAR = 2**64 - 1


@dataclass
class Scenario:
    """Images p0, p1, …; by default all are queries and gallery images."""

    vectors: NDArray[np.float32]
    labels: list[list[int]]
    hashes: list[int]
    is_query: list[bool] | None = None
    is_gallery: list[bool] | None = None
    greys: list[int] | None = None

    def analyze(self, **options: Any) -> FailureAnalysis:
        count = len(self.labels)
        images = EmbeddedSplit(
            ids=np.array([f"p{i}" for i in range(count)], dtype=object),
            vectors=self.vectors,
            split=np.array(["test"] * count, dtype=object),
            is_query=np.array(self.is_query or [True] * count),
            is_gallery=np.array(self.is_gallery or [True] * count),
        )
        labels = from_lists(self.labels)
        choices = {"distance": "cosine", "failure_k": 2, "cosine": 0.9, "bits": 10} | options
        metrics = measure(
            images.vectors,
            labels,
            images.is_query,
            images.is_gallery,
            k=[1],
            distance=choices["distance"],
            nearest=1,
        )
        self.hashed: list[str] = []
        relevance = find_relevance(labels, images.is_query, images.is_gallery)
        roles = images.is_query, images.is_gallery
        task = prepare_task(
            images.vectors, labels, *roles, relevance, distance=choices.pop("distance")
        )
        return analyze_failures(metrics, images, labels, task, self.hash_images, **choices)

    def hash_images(self, image_ids: Sequence[str]) -> Hashes:
        self.hashed += image_ids
        rows = [int(each[1:]) for each in image_ids]
        greys = np.array(self.greys or [0] * len(self.labels), np.uint8)[rows]
        return Hashes(
            bits=np.array([self.hashes[row] for row in rows], np.uint64),
            colors=np.broadcast_to(greys[:, None, None, None], (len(rows), GRID, GRID, 3)),
        )


def vectors_at(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def scenario() -> Scenario:
    """p0 and p1 are one image with two labels; p2 is near p3, which has another class."""
    return Scenario(
        vectors=vectors_at(0, 1, 30, 32, 90, 91),
        labels=[[1], [2], [1], [2], [3], [3]],
        hashes=[0, 0b111, FAR, 0, FAR, 0],
    )


def test_an_analysis_by_hand(scenario: Scenario) -> None:
    analysis = scenario.analyze()
    # The rankings: p0: p1, p2; p1: p0, p2, p3; p2: p3, p1, p0; p3: p2, p1.
    assert analysis.metrics == {
        "failures": 2,
        "label_noise": 2,
        "failures_label_noise": 1,
        "recall_at_1_without_label_noise": 0.5,
    }
    failures = analysis.failures.to_pandas()
    assert failures["image_id"].tolist() == ["p1", "p2"]
    assert failures["positives"].tolist() == [1, 1]
    assert failures["first_hit_rank"].tolist() == [3, 3]
    assert failures["average_precision"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert failures["top_hit"].tolist() == ["p0", "p3"]
    cosines = np.cos(np.radians([1, 2]))
    assert failures["cosine"].tolist() == pytest.approx(cosines.tolist(), abs=1e-6)
    assert failures["score"].tolist() == failures["cosine"].tolist()
    assert failures["bits"].tolist() == [3, 64]
    assert failures["near_duplicate"].tolist() == [True, False]
    assert analysis.successes.to_pandas()["image_id"].tolist() == ["p4", "p5"]
    near = analysis.near_duplicates.to_pandas()
    assert near["image_id"].tolist() == ["p0", "p1"]
    assert near["top_hit"].tolist() == ["p1", "p0"]
    assert near["first_hit_rank"].tolist() == [2, 3]
    assert near["failure"].tolist() == [False, True]
    confusions = analysis.confusions.to_pandas()
    assert list(zip(confusions["label"], confusions["other"], strict=True)) == [(1, 2), (2, 1)]
    assert confusions["queries"].tolist() == [2.0, 2.0]
    # p0 is nearer to its hit than p2, and p1 nearer than p3.
    assert confusions["image_id"].tolist() == ["p0", "p1"]


def test_the_tables_fit_their_schemas(scenario: Scenario, tmp_path: Any) -> None:
    for analysis in (scenario.analyze(), scenario.analyze(failure_k=100, bits=0, cosine=1.0)):
        for table, kind in (
            (analysis.failures, FAILURES),
            (analysis.successes, SUCCESSES),
            (analysis.near_duplicates, NEAR_DUPLICATES),
            (analysis.confusions, CONFUSIONS),
        ):
            write_table(table, tmp_path / "table.parquet", kind)
            assert read_table(tmp_path / "table.parquet", kind).to_pylist() == table.to_pylist()


def test_without_label_noise_recall_is_the_same(scenario: Scenario) -> None:
    metrics = scenario.analyze(bits=2).metrics
    assert metrics["label_noise"] == metrics["failures_label_noise"] == 0
    assert metrics["recall_at_1_without_label_noise"] == round(2 / 6, 6)


def test_if_all_queries_are_label_noise_there_is_no_recall_without_them() -> None:
    scenario = Scenario(vectors_at(0, 0, 90, 90), [[1], [2], [1], [2]], [0] * 4)
    assert scenario.analyze(failure_k=3).metrics == {
        "failures": 0,
        "label_noise": 4,
        "failures_label_noise": 0,
    }


@pytest.mark.parametrize(("bits", "found"), [(2, 0), (3, 2), (4, 2)])
def test_a_near_duplicate_differs_in_at_most_so_many_bits(
    scenario: Scenario, bits: int, found: int
) -> None:
    assert scenario.analyze(bits=bits).metrics["label_noise"] == found


@pytest.mark.parametrize(("difference", "found"), [(COLOR_TOLERANCE, 2), (COLOR_TOLERANCE + 1, 0)])
def test_an_image_of_another_color_is_no_near_duplicate(
    scenario: Scenario, difference: int, found: int
) -> None:
    analysis = replace(scenario, greys=[100, 100 + difference, 0, 0, 0, 0]).analyze()
    assert analysis.metrics["label_noise"] == found
    failures = analysis.failures.to_pandas()
    assert failures["bits"].tolist() == [3, 64]
    assert failures["near_duplicate"].tolist() == [found > 0, False]


@pytest.mark.parametrize(("cosine", "found"), [(0.9999, 0), (0.9998, 2)])
def test_a_near_duplicate_has_at_least_this_cosine(
    scenario: Scenario, cosine: float, found: int
) -> None:
    assert np.cos(np.radians(1)) == pytest.approx(0.99985, abs=1e-5)
    assert scenario.analyze(cosine=cosine).metrics["label_noise"] == found


def test_identical_vectors_reach_a_cosine_of_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 33)).astype(np.float32)
    scenario = Scenario(np.repeat(vectors, 2, axis=0), [[i % 2] for i in range(80)], [0] * 80)
    assert scenario.analyze(cosine=1.0).metrics["label_noise"] == 80


def test_only_wrong_and_similar_images_are_hashed_and_each_once(scenario: Scenario) -> None:
    # The cosine of p2 and p3 is 0.9994; p4 and p5 are of one class.
    scenario.analyze(cosine=0.9998)
    assert scenario.hashed == ["p0", "p1"]
    bits = scenario.analyze(cosine=0.9998).failures.to_pandas()["bits"]
    assert bits.isna().tolist() == [False, True]


def test_a_top_that_is_larger_than_the_gallery_has_no_failures(scenario: Scenario) -> None:
    assert scenario.analyze(failure_k=100).metrics["failures"] == 0


def test_queries_without_a_relevant_image_are_in_no_table() -> None:
    scenario = Scenario(vectors_at(0, 0, 5, 9), [[1], [2], [3], [3]], [0] * 4)
    analysis = scenario.analyze()
    assert analysis.metrics == {
        "failures": 0,
        "label_noise": 0,
        "failures_label_noise": 0,
        "recall_at_1_without_label_noise": 1.0,
    }
    # p2 is nearer to p3 than to p1; p3 is nearest to p2.
    assert analysis.successes["image_id"].to_pylist() == ["p2", "p3"]
    assert analysis.confusions.num_rows == 0


def test_queries_without_a_relevant_image_are_not_in_the_share_of_their_class() -> None:
    # The only other image with the class of p1 is p0, which is not in the gallery.
    scenario = Scenario(
        vectors_at(0, 9, 1), [[1], [1], [2]], [0] * 3, [True, True, False], [False, True, True]
    )
    confusions = scenario.analyze().confusions
    assert confusions["queries"].to_pylist() == confusions["share"].to_pylist() == [1.0]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    count = draw(st.integers(3, 12))
    # Of integers the Euclidean ranking is exact, and ties are common.
    coordinates = st.integers(-3, 3)
    vectors = draw(st.lists(st.tuples(*[coordinates] * 3), min_size=count, max_size=count))
    labels = st.lists(st.integers(0, 4), min_size=1, max_size=2, unique=True)
    return Scenario(
        np.array(vectors, dtype=np.float32),
        draw(st.lists(labels, min_size=count, max_size=count)),
        draw(st.lists(st.sampled_from([0, 1, 3, FAR]), min_size=count, max_size=count)),
        draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        greys=draw(st.lists(st.sampled_from([0, 40, 80]), min_size=count, max_size=count)),
    )


@given(scenarios(), st.integers(1, 4), st.sampled_from([-1.0, 0.317, 0.953]), st.integers(0, 2))
def test_an_analysis_equals_a_plain_loop(
    scenario: Scenario, failure_k: int, cosine: float, bits: int
) -> None:
    expected = [case for case in (loop(scenario, query) for query in queries_of(scenario)) if case]
    assume(expected)
    analysis = scenario.analyze(distance="euclidean", failure_k=failure_k, cosine=cosine, bits=bits)
    failed = [case for case in expected if case["first"] > failure_k]
    noisy = [
        case
        for case in expected
        if case["first"] > 1
        and case["cosine"] >= cosine
        and case["bits"] <= bits
        and case["color"] <= COLOR_TOLERANCE
    ]
    right = [case["query"] for case in expected if case["first"] == 1]
    for table, wanted in ((analysis.failures, failed), (analysis.near_duplicates, noisy)):
        found: pd.DataFrame = table.to_pandas()
        assert found["image_id"].tolist() == [case["query"] for case in wanted]
        assert found["top_hit"].tolist() == [case["hit"] for case in wanted]
        assert found["first_hit_rank"].tolist() == [case["first"] for case in wanted]
        assert np.allclose(found["score"], [-case["distance"] for case in wanted])
        assert np.allclose(found["cosine"], [case["cosine"] for case in wanted], atol=1e-6)
    assert analysis.near_duplicates["bits"].to_pylist() == [case["bits"] for case in noisy]
    assert analysis.successes["image_id"].to_pylist() == right
    left = [case for case in expected if case not in noisy]
    assert analysis.metrics == {
        "failures": len(failed),
        "label_noise": len(noisy),
        "failures_label_noise": sum(case in noisy for case in failed),
    } | ({"recall_at_1_without_label_noise": round(len(right) / len(left), 6)} if left else {})


def queries_of(scenario: Scenario) -> list[int]:
    assert scenario.is_query
    return [row for row, is_query in enumerate(scenario.is_query) if is_query]


def loop(scenario: Scenario, query: int) -> dict[str, Any] | None:
    """Return the top hit of a query, and the rank of its first relevant image."""
    vectors, labels = scenario.vectors.astype(float), [set(each) for each in scenario.labels]
    distances = np.linalg.norm(vectors - vectors[query], axis=1)
    others = [row for row in range(len(vectors)) if row != query]
    ranking = sorted(others, key=lambda row: (distances[row], row))
    ranks = [rank for rank, row in enumerate(ranking, 1) if labels[row] & labels[query]]
    if not ranks:
        return None
    hit = ranking[0]
    lengths = np.linalg.norm(vectors[query]) * np.linalg.norm(vectors[hit])
    return {
        "query": f"p{query}",
        "hit": f"p{hit}",
        "first": ranks[0],
        "distance": distances[hit],
        "cosine": vectors[query] @ vectors[hit] / lengths if lengths else 0.0,
        "bits": (scenario.hashes[query] ^ scenario.hashes[hit]).bit_count(),
        "color": abs(scenario.greys[query] - scenario.greys[hit]) if scenario.greys else 0,
    }
