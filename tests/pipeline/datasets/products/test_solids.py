"""Each solid against what geometry says of it, and against a slow search along the ray."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.datasets.products.solids import Lathe, Polyhedron, Solid, Sphere, Tube, box

CYLINDER = Lathe(((0, -1), (0.5, -1), (0.5, 1), (0, 1)))
CONE = Lathe(((0, 0), (0.8, 0), (0.1, 1.2), (0, 1.2)))
CUP = Lathe(((0, 0), (0.4, 0), (0.6, 1), (0.5, 1), (0.35, 0.1), (0, 0.1)))


def inside_cone(p: np.ndarray) -> np.ndarray:
    return (np.hypot(p[0], p[2]) < 0.8 - 0.7 * p[1] / 1.2) & (p[1] > 0) & (p[1] < 1.2)


def inside_cup(p: np.ndarray) -> np.ndarray:
    radius = np.hypot(p[0], p[2])
    outer = (radius < 0.4 + 0.2 * p[1]) & (p[1] > 0) & (p[1] < 1)
    return outer & ~((radius < 0.35 + 0.15 * (p[1] - 0.1) / 0.9) & (p[1] > 0.1))


def inside_box(p: np.ndarray) -> np.ndarray:
    return (np.abs(p) < np.array([0.3, 0.5, 0.7])[:, None]).all(0)


def inside_tube(p: np.ndarray) -> np.ndarray:
    path = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.6]])
    near = []
    for start, end in pairwise(path):
        span = end - start
        along = np.clip((p.T - start) @ span / (span @ span), 0, 1)
        near.append(np.linalg.norm(p.T - start - along[:, None] * span, axis=1))
    return np.min(near, axis=0) < 0.2


ORACLES = [
    (CONE, inside_cone),
    (CUP, inside_cup),
    (box((-0.3, -0.5, -0.7), (0.3, 0.5, 0.7)), inside_box),
    (Tube(((0, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, 0.6)), 0.2), inside_tube),
    (Sphere(), lambda p: (p * p).sum(0) < 1),
]


def shoot(solid: Solid, origin: tuple, direction: tuple) -> tuple[float, np.ndarray]:
    """Return the distance and the unit normal of one ray's hit."""
    start = np.array(origin, np.float32)[:, None]
    along = np.array(direction, np.float32)[:, None]
    distance, piece = solid.distance(start, along)
    normal, _ = solid.surface(start + along * distance, piece)
    return float(distance[0]), normal[:, 0] / np.linalg.norm(normal[:, 0])


@pytest.mark.parametrize(("solid", "inside"), ORACLES)
def test_a_ray_enters_where_a_walk_along_it_first_is_inside(solid, inside):
    rng = np.random.default_rng(0)
    origin = rng.normal(size=(3, 300))
    origin *= 3 / np.linalg.norm(origin, axis=0)
    direction = rng.uniform(-0.25, 0.25, (3, 300)) - origin / 3
    direction /= np.linalg.norm(direction, axis=0)
    steps = np.arange(0, 6, 0.004)
    walk = np.stack([inside(origin + direction * step) for step in steps])
    expected = np.where(walk.any(0), steps[walk.argmax(0)], np.inf)
    found, _ = solid.distance(origin.astype(np.float32), direction.astype(np.float32))
    assert walk.any(0).sum() > 30
    # A walk may step over a graze; otherwise both stop within one step.
    agree = np.isclose(found, expected, atol=0.006) | (np.isinf(found) & np.isinf(expected))
    assert agree.mean() > 0.98


@pytest.mark.parametrize(
    ("solid", "origin", "direction", "distance", "normal"),
    [
        (Sphere(), (0, 0, 3), (0, 0, -1), 2, (0, 0, 1)),
        (CYLINDER, (3, 0.2, 0), (-1, 0, 0), 2.5, (1, 0, 0)),
        (CYLINDER, (0.2, 3, 0.1), (0, -1, 0), 2, (0, 1, 0)),
        (CUP, (0.1, 3, 0), (0, -1, 0), 2.9, (0, 1, 0)),  # through the mouth, to the floor
        (box((0, 0, 0), (1, 1, 1)), (0.5, 0.5, -2), (0, 0, 1), 2, (0, 0, -1)),
        (Tube(((-1, 0, 0), (1, 0, 0)), 0.25), (0.3, 2, 0), (0, -1, 0), 1.75, (0, 1, 0)),
        (Tube(((-1, 0, 0), (1, 0, 0)), 0.25), (2, 0, 0), (-1, 0, 0), 0.75, (1, 0, 0)),
    ],
)
def test_a_hit_is_at_the_expected_distance_and_faces_outwards(
    solid, origin, direction, distance, normal
):
    found, facing = shoot(solid, origin, direction)
    assert found == pytest.approx(distance, abs=1e-4)
    np.testing.assert_allclose(facing, normal, atol=1e-4)


def test_the_inside_of_a_cup_faces_its_axis():
    _, facing = shoot(CUP, (0, 2.0, 0), (0.23, -1, 0))
    assert facing[0] < -0.9


def test_a_print_runs_around_and_up_and_stays_off_the_lining():
    point = np.array([[0.5, 0, 0.1], [0, 0.9, 1], [0, 0.5, 0]], np.float32)
    _, at = CYLINDER.surface(point, np.array([1, 1, 2], np.int16))
    np.testing.assert_allclose(at, [[0, 0.25, at[0, 2]], [0.5, 0.95, -1]], atol=1e-5)


def test_planes_bound_a_wedge():
    wedge = Polyhedron(
        ((1, 1, 0), (-1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)),
        (1, 0, 0, 1, 1), (0, 0, -1), (1, 1, 1),
    )  # fmt: skip
    found, facing = shoot(wedge, (3, 0.25, 0), (-1, 0, 0))
    assert found == pytest.approx(2.25)
    np.testing.assert_allclose(facing, [0.5**0.5, 0.5**0.5, 0], atol=1e-5)
