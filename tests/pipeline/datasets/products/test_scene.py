"""What the camera sees: sizes and depths that follow from geometry alone."""

import numpy as np
import pytest

from pipeline.datasets.products.scene import Camera, Material, Part, cast_camera, cast_shadow
from pipeline.datasets.products.solids import Sphere, box

GREY = Material(np.full(3, 0.5, np.float32))


def test_a_sphere_fills_the_disc_that_perspective_gives_it():
    distance, focal, side = 4.0, 1.5, 200
    camera = Camera((0, 0, distance), (0, 0, 0), focal)
    hits = cast_camera([Part(Sphere(), GREY)], camera, side)
    radius = focal * side / np.sqrt(distance**2 - 1)  # the tangent cone, in pixels
    assert (hits.part >= 0).sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert hits.depth.min() == pytest.approx(distance - 1, abs=1e-3)


def test_a_box_seen_from_its_corner_is_wider_than_from_its_front():
    part = Part(box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)), GREY)
    widths = []
    for turn in (0, np.pi / 4):
        camera = Camera((50 * np.cos(turn), 0, 50 * np.sin(turn)), (0, 0, 0), 25)
        hits = cast_camera([part], camera, 300)
        widths.append((hits.part >= 0).any(0).sum())
    assert widths[1] / widths[0] == pytest.approx(2**0.5, rel=0.03)


def test_the_nearer_part_hides_the_farther_one_whatever_their_order():
    camera = Camera((0, 0, 5), (0, 0, 0), 1)
    near, far = Part(Sphere(), GREY, (0, 0, 1)), Part(Sphere(), GREY, (0, 0, -1))
    assert cast_camera([near, far], camera, 21).part[10, 10] == 0
    assert cast_camera([far, near], camera, 21).part[10, 10] == 1


def test_a_stretched_part_is_as_wide_as_its_axes_say():
    camera = Camera((0, 0, 100), (0, 0, 0), 20)
    part = Part(Sphere(), GREY, axes=np.diag([2, 0.5, 1]).astype(np.float32))
    seen = cast_camera([part], camera, 400).part >= 0
    assert seen.any(0).sum() / seen.any(1).sum() == pytest.approx(4, rel=0.03)


def test_a_projected_point_lies_on_the_ray_of_its_pixel():
    camera = Camera((2, 1.5, -3), (0.2, 0.4, 0), 1.3)
    point = np.array([[0.3], [0.2], [0.5]], np.float32)
    (column, row), depth = camera.project(point, 64)
    ray = camera.rays(64)[:, int(row[0]), int(column[0])]
    reached = np.array(camera.eye) + ray * depth[0]
    assert np.abs(reached - point[:, 0]).max() < depth[0] / 64 / 1.3


def test_a_shadow_falls_away_from_the_lamp():
    ball = Part(Sphere(), GREY, (0, 1, 0))
    lamp = np.array([1, 1, 0], np.float32) / np.float32(2**0.5)
    ground = np.array([[-1, 1], [0, 0], [0, 0]], np.float32)
    assert cast_shadow([ball], ground, lamp, np.inf).tolist() == [1, 0]
