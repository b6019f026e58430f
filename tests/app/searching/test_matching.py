"""A match is judged by the nearest of all images, and by a threshold that is of these images."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.searching.catalog import Catalog
from app.searching.matching import find_matches, read_match_threshold
from app.searching.model_index import ModelIndex
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import label_metrics

K = 5


@pytest.fixture(scope="module")
def model_index(searchable: Path) -> ModelIndex:
    return ModelIndex(searchable, "baseline")


@pytest.fixture(scope="module")
def query(searchable: Path) -> str:
    return Catalog(searchable).queries[0]


def between(scores: list[float], rank: int) -> float:
    """Return a threshold that the first `rank` scores alone are above."""
    return (scores[rank - 1] + scores[rank]) / 2


def test_the_nearest_image_decides(model_index: ModelIndex, query: str) -> None:
    vector = model_index.read_vector(query)
    plain = model_index.search(vector, K, exclude=query)
    scores = [each.score for each in plain]
    assert scores[0] > scores[1] > scores[-1]
    cases = {
        between(scores, 1): True,
        between(scores, K - 1): True,
        scores[0]: False,  # it must be above the threshold
        (scores[0] + 1.0) / 2: False,  # the image itself would be above
        None: None,
    }
    for threshold, match in cases.items():
        found = find_matches(model_index, vector, K, threshold=threshold, exclude=query)
        assert (found.neighbors, found.match) == (plain, match), threshold


@pytest.mark.parametrize("count", [0, 1, 7])
def test_filters_do_not_change_whether_there_is_a_match(
    count: int, model_index: ModelIndex, query: str
) -> None:
    vector = model_index.read_vector(query)
    everything = model_index.search(vector, len(model_index.ids), exclude=query)
    farthest = {each.image_id for each in everything[len(everything) - count :]}
    allowed = np.array([image_id in farthest for image_id in model_index.ids])
    scores = [each.score for each in everything]
    for threshold, match in {between(scores, 1): True, scores[0]: False, None: None}.items():
        found = find_matches(
            model_index, vector, K, threshold=threshold, allowed=allowed, exclude=query
        )
        assert found.match is match
        assert {each.image_id for each in found.neighbors} <= farthest
        assert len(found.neighbors) == min(K, count)


@pytest.mark.parametrize(
    ("metrics", "threshold"),
    [
        ({"match_threshold": 0.5}, 0.5),
        ({"match_threshold": 0.5, "fingerprint": "0" * 16}, None),  # of other images
        ({"map": 0.5}, None),
    ],
)
def test_a_threshold_is_of_the_images_of_the_catalog(
    metrics: dict[str, float | str], threshold: float | None, searchable: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/catalog.parquet").symlink_to(searchable / "data/catalog.parquet")
    assert read_match_threshold(tmp_path, "baseline") is None  # nothing is measured
    (tmp_path / "metrics/details").mkdir(parents=True)
    fingerprint = read_dataset_fingerprint(searchable / "data/catalog.parquet")
    written = label_metrics({}, dataset="folder", fingerprint=fingerprint) | metrics
    (tmp_path / "metrics/details/baseline.json").write_text(json.dumps(written))
    assert read_match_threshold(tmp_path, "baseline") == threshold


def test_a_threshold_of_unnamed_images_is_not_used(searchable: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(searchable / "data")
    (tmp_path / "metrics/details").mkdir(parents=True)
    (tmp_path / "metrics/details/baseline.json").write_text('{"match_threshold": 0.5}')
    assert read_match_threshold(tmp_path, "baseline") is None
