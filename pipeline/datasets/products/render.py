"""From a scene to an image: surfaces, light, shadow, ground and wall."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from pipeline.datasets.products.portable import cos, length, power, sin
from pipeline.datasets.products.rays import Pieces, Reals, dot
from pipeline.datasets.products.scene import Camera, Hits, Part, cast_camera, cast_shadow, transform

FINER = 2  # rendered pixels for each pixel of the image, in each direction
SHADOW_SIDE = 32  # shadow rays in each direction: shadows are soft, so few are enough
HORIZON = 40.0  # depth in scene units; only wall is beyond


@dataclass(frozen=True)
class Light:
    """direction: to the lamp, (3,), of unit length. Colors are linear, (3,)."""

    direction: Reals
    key: Reals
    sky: Reals
    softness: float  # of the shadow's edge, in shares of the image


@dataclass(frozen=True)
class Backdrop:
    """ground, wall: (side, side, 3) linear; ground_scale: its width in scene units, `turn` its
    angle in radians; wall_distance: how far behind the origin the wall stands."""

    ground: Reals
    wall: Reals
    ground_scale: float
    turn: float
    wall_distance: float


def render(parts: list[Part], camera: Camera, light: Light, backdrop: Backdrop, side: int) -> Reals:
    """Return the image, linear light, (side, side, 3)."""
    hits = cast_camera(parts, camera, side * FINER)
    lit = _shade(parts, hits, camera, light, side * FINER)
    # A sum of slices is three times faster than a mean over two axes.
    steps = [(row, column) for row in range(FINER) for column in range(FINER)]
    covered = np.zeros((side, side, 4), np.float32)
    for row, column in steps:
        covered += lit[row::FINER, column::FINER] / len(steps)
    behind = _draw_backdrop(parts, camera, light, backdrop, side)
    return np.asarray(covered[..., :3] + behind * (1 - covered[..., 3:]))


def _shade(parts: list[Part], hits: Hits, camera: Camera, light: Light, side: int) -> Reals:
    """Return light and coverage of each pixel, premultiplied, (side, side, 4)."""
    lit = np.zeros((side * side, 4), np.float32)
    pixels = np.flatnonzero(hits.part.ravel() >= 0)
    number = hits.part.ravel()[pixels]
    rays = camera.rays(side).reshape(3, -1)[:, pixels]
    eye = np.array(camera.eye, np.float32)[:, None]
    point = eye + rays * hits.depth.ravel()[pixels]
    normal, color, gloss = _surfaces(parts, number, hits.piece.ravel()[pixels], point)
    lit[pixels, :3] = _illuminate(point, normal, rays, color, gloss, light).T
    lit[pixels, 3] = 1
    return lit.reshape(side, side, 4)


def _surfaces(
    parts: list[Part], number: Pieces, piece: Pieces, point: Reals
) -> tuple[Reals, Reals, Reals]:
    """Return unit normals (3, N), colors (3, N) and gloss (N,) of hits on many parts."""
    normal, color = np.empty_like(point), np.empty_like(point)
    gloss = np.empty(point.shape[1], np.float32)
    for index, part in enumerate(parts):
        here = np.flatnonzero(number == index)
        if not len(here):
            continue
        local, print_at = part.solid.surface(part.to_local(point[:, here]), piece[here])
        outward = transform(part.inverse.T, local.astype(np.float32))
        normal[:, here] = outward / np.maximum(np.sqrt(dot(outward, outward)), 1e-9)
        color[:, here] = _read_print(part, print_at)
        gloss[here] = part.material.gloss
    return normal, color, gloss


def _read_print(part: Part, at: Reals) -> Reals:
    """Return the colors (3, N) of a part at print coordinates (2, N)."""
    lining = np.repeat(part.material.lining[:, None], at.shape[1], axis=1)
    image = part.material.print
    if image is None:
        return lining
    height, width = image.shape[:2]
    column = (at[0] * width).astype(np.int32) % width
    row = np.clip((at[1] * height).astype(np.int32), 0, height - 1)
    return np.where(at[1] < 0, lining, image[row, column].T)


def _illuminate(
    point: Reals, normal: Reals, rays: Reals, color: Reals, gloss: Reals, light: Light
) -> Reals:
    """Return the light (3, N) that surfaces send to the eye.

    Diffuse (Lambert) from the lamp, a sky brighter above than below and dimmed near the ground,
    a highlight (Blinn-Phong) and a rim that reflects the sky at a grazing angle (Schlick).
    """
    towards = rays / -np.sqrt(dot(rays, rays))
    facing = np.clip(dot(normal, light.direction), 0, 1)
    half = light.direction[:, None] + towards
    shine = np.clip(dot(normal, half), 0, 1) / np.sqrt(dot(half, half))
    shine = gloss * power(shine, 12 + 90 * gloss).astype(np.float32) * (facing > 0)
    rim = gloss * (0.03 + 0.4 * np.square(np.square(1 - np.clip(dot(normal, towards), 0, 1))))
    near_ground = 0.55 + 0.45 * np.clip(point[1] / 0.35, 0, 1)
    sky = (0.62 + 0.38 * normal[1]) * near_ground
    diffuse = light.key[:, None] * facing + light.sky[:, None] * sky
    reflected = light.sky[:, None] * rim * (0.7 + 0.6 * normal[1])
    return np.asarray(color * diffuse + light.key[:, None] * shine * 0.6 + reflected)


def _draw_backdrop(
    parts: list[Part], camera: Camera, light: Light, backdrop: Backdrop, side: int
) -> Reals:
    """Return ground and wall under their shadows, (side, side, 3)."""
    rays = camera.rays(side)
    depth = _ground_depth(rays, camera)
    x, z = (camera.eye[axis] + rays[axis] * np.minimum(depth, HORIZON) for axis in (0, 2))
    away = -np.array(camera.eye)[[0, 2]]
    away /= length(away)
    behind = x * away[0] + z * away[1] - backdrop.wall_distance
    c, s = float(cos(backdrop.turn)), float(sin(backdrop.turn))
    size = backdrop.ground.shape[0]
    column, row = (
        (place / backdrop.ground_scale * size).astype(np.int32) % size
        for place in (x * c - z * s, x * s + z * c)
    )
    ground = backdrop.ground[row, column] * _light_left(parts, camera, light, side)[..., None]
    # The ground curves up into the wall, as the paper of a photographer does.
    share = np.clip(behind / 1.2 + 0.5, 0, 1)[..., None]
    wall = backdrop.wall if len(backdrop.wall) == side else _resize(backdrop.wall, side)
    return np.asarray(ground * (1 - share) + wall * share)


def _ground_depth(rays: Reals, camera: Camera) -> Reals:
    with np.errstate(divide="ignore"):
        return np.where(rays[1] < -1e-4, -np.float32(camera.eye[1]) / rays[1], HORIZON)


def _light_left(parts: list[Part], camera: Camera, light: Light, side: int) -> Reals:
    """Return the share of the light that the ground under each pixel keeps, (side, side)."""
    rays = camera.rays(SHADOW_SIDE)
    depth = np.minimum(_ground_depth(rays, camera), HORIZON)
    ground = np.array(camera.eye, np.float32)[:, None, None] + rays * depth
    ground[1] = 1e-3
    cast = cast_shadow(parts, ground, light.direction, np.inf)
    above = cast_shadow(parts, ground, np.array([0, 1, 0], np.float32), 0.3)
    key = float(light.key.mean() * light.direction[1])
    weight = key / (key + float(light.sky.mean()))
    cast = _soften(cast, light.softness, side)
    above = _soften(above, 0.025, side)
    return (1 - weight * cast) * (1 - 0.55 * above)


def _soften(mask: Reals, softness: float, side: int) -> Reals:
    """Return a mask blurred by `softness` shares of its width and enlarged to `side` pixels."""
    image = Image.fromarray((mask * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(softness * mask.shape[0]))
    image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 255


def _resize(image: Reals, side: int) -> Reals:
    pixels = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    return np.asarray(pixels.resize((side, side)), np.float32) / 255
