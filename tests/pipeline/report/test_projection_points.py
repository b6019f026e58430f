import json

import numpy as np
import pytest

from pipeline.figures.projection_figures import Coloring
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.report.projection_points import DECIMALS, describe_points

SAMPLE = ProjectionSample(
    ["a", "b", "c"], [["cup"], ["jug", "pot"], ["pot"]], ["x", None, "y"], total=9
)
COLORING = Coloring(["jug", None, "cup"], ["cup", "jug"], "what the colors mean")


def describe(points: np.ndarray) -> dict[str, object]:
    layouts = {"pca": {points.shape[1]: {"baseline": points}}}
    return describe_points(SAMPLE, layouts, COLORING, {"baseline": {2: "half of it"}})


def test_each_point_keeps_its_image_its_category_and_its_place() -> None:
    points = np.array([[0, 0], [4, 1], [2, 2]], np.float32)
    described = describe(points)
    assert described["ids"] == ["a", "b", "c"]
    assert described["classes"] == ["cup", "jug, pot", "pot"]
    assert described["groups"] == ["x", "", "y"]
    assert described["keys"] == [1, -1, 0]
    assert described["notes"] == {"baseline": {"2": "half of it"}}
    assert described["layouts"] == {
        "pca": {"2": {"baseline": [[-1.0, 1.0, 0.0], [-0.5, 0.0, 0.5]]}}
    }


@pytest.mark.parametrize("axes", [2, 3])
def test_distances_keep_their_proportions(axes: int) -> None:
    points = np.random.default_rng(0).normal(size=(3, axes)).astype(np.float32) * 1e4
    columns = describe(points)["layouts"]["pca"][str(axes)]["baseline"]
    placed = np.array(columns).T
    far = [np.linalg.norm(each[:, None] - each, axis=-1) for each in (points, placed)]
    assert far[0] / far[0].max() == pytest.approx(far[1] / far[1].max(), abs=10**-DECIMALS)
    assert np.abs(placed).max() == 1


def test_points_that_are_all_the_same_are_still_numbers() -> None:
    described = json.dumps(describe(np.ones((3, 2), np.float32)))
    assert "NaN" not in described
    assert "-0.0" not in described
