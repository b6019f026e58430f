"""Photographs of a product: viewpoint, light, ground, clutter and the camera's colors."""

import numpy as np

from pipeline.datasets.products.patterns import draw_ground, draw_noise
from pipeline.datasets.products.portable import cos, exp, hypot, power, sin
from pipeline.datasets.products.rays import Reals
from pipeline.datasets.products.render import Backdrop, Light, render
from pipeline.datasets.products.scene import Camera, Material, Part
from pipeline.datasets.products.solids import Lathe, Sphere, box
from pipeline.datasets.products.vessels import make_ball, make_bottle, make_bowl

TURN = np.deg2rad(80)  # largest angle between the camera and the front of a product


def photograph(product: list[Part], rng: np.random.Generator, side: int) -> Reals:
    """Return an image of a product; viewpoint and surroundings are sampled from `rng`.

    sRGB values in [0, 1], (side, side, 3).
    """
    height, radius = _measure(product)
    azimuth = rng.uniform(-TURN, TURN)
    camera = sample_camera(rng, azimuth, height, radius)
    parts = [*product, *_sample_clutter(rng, azimuth, radius)]
    light = _sample_light(rng, azimuth)
    image = render(parts, camera, light, _draw_backdrop(rng, side, radius), side)
    return _develop(image, rng)


def sample_camera(rng: np.random.Generator, azimuth: float, height: float, radius: float) -> Camera:
    """Return a camera that sees all of a product, from 8 to 45 degrees above it."""
    elevation = np.deg2rad(rng.uniform(8, 45))
    focal = rng.uniform(1.1, 2.6)
    extent = max(float(hypot(radius, height / 2)), 0.6)
    distance = extent * 2 * focal * rng.uniform(0.9, 1.5) + radius * 0.4
    shift = rng.uniform(-0.18, 0.18, 3) * extent
    target = (float(shift[0]), float(max(height / 2 + shift[1], 0.05)), float(shift[2]))
    eye = (
        float(distance * cos(elevation) * cos(azimuth)),
        float(distance * sin(elevation) + height / 2),
        float(distance * cos(elevation) * sin(azimuth)),
    )
    return Camera(eye, target, float(focal))


def sample_color(rng: np.random.Generator, saturation: tuple[float, float] = (0.1, 0.9)) -> Reals:
    """Return a color of any hue, linear, (3,)."""
    hue, strength, value = rng.random(), rng.uniform(*saturation), rng.uniform(0.12, 0.95)
    return make_color(hue, strength, value)


def make_color(hue: float, saturation: float, value: float) -> Reals:
    """Return HSV, each in [0, 1], as linear light, (3,)."""
    wheel = np.clip(np.abs(np.mod(hue * 6 + np.array([0, 4, 2]), 6) - 3) - 1, 0, 1)
    linear: Reals = power(value * (1 - saturation * (1 - wheel)), 2.2).astype(np.float32)
    return linear


def _measure(product: list[Part]) -> tuple[float, float]:
    """Return height and radius of a product."""
    corners = np.concatenate([part.corners() for part in product], axis=1)
    wide = float(np.abs(corners[[0, 2]]).max())
    return float(corners[1].max()), wide


def _sample_light(rng: np.random.Generator, towards: float) -> Light:
    # From the side of the camera, so that the visible side is never all in shadow.
    azimuth = towards + rng.uniform(-1.7, 1.7)
    elevation = np.deg2rad(rng.uniform(25, 75))
    direction = np.array([
        cos(elevation) * cos(azimuth), sin(elevation), cos(elevation) * sin(azimuth),
    ], np.float32)  # fmt: skip
    key = rng.uniform(0.5, 1.2)
    warm = power([1, 0.92, 0.8], rng.uniform(-0.7, 1.3))
    cool = power([0.85, 0.95, 1], rng.uniform(-0.7, 1.3))
    sky = rng.uniform(0.35, 0.7)
    return Light(
        direction, (warm * key).astype(np.float32), (cool * sky).astype(np.float32),
        float(rng.uniform(0.01, 0.05)),
    )  # fmt: skip


def _draw_backdrop(rng: np.random.Generator, side: int, radius: float) -> Backdrop:
    base = sample_color(rng, (0.0, 0.9))
    near = rng.random() < 0.4
    second = base * np.float32(rng.uniform(0.45, 0.85)) if near else sample_color(rng, (0.0, 0.9))
    ground = draw_ground(rng, base, second)
    paint = base if rng.random() < 0.2 else sample_color(rng, (0.0, 0.9))
    fall = np.linspace(1, rng.uniform(0.4, 1), side, dtype=np.float32)[:, None]
    mottle = 1 + rng.uniform(0, 1.2) * (draw_noise(rng, 6, 6, side) - 0.5)
    wall = (paint * (fall * mottle)[..., None]).astype(np.float32)
    far = rng.uniform(1.1, 4.0)
    return Backdrop(ground, wall, rng.uniform(2, 6), rng.uniform(0, np.pi), radius + far)


def _sample_clutter(rng: np.random.Generator, azimuth: float, radius: float) -> list[Part]:
    """Return one or two other things beside or behind the product, or smaller ones before it."""
    parts: list[Part] = []
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.35:  # before it, so that it hides some of the product
            angle = azimuth + rng.choice([-1, 1]) * rng.uniform(0.25, 0.6)
            away, size = radius + rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.6)
        else:
            angle = azimuth + rng.uniform(0.25, 0.75) * 2 * np.pi
            away, size = radius + rng.uniform(0.35, 1.4), rng.uniform(0.4, 1.0)
        place = np.array([away * cos(angle), 0, away * sin(angle)], np.float32)
        spin = rng.uniform(0, 2 * np.pi)
        c, s = cos(spin), sin(spin)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32) * np.float32(size)
        parts += [part.moved(turn, place) for part in _sample_object(rng)]
    return parts


def _sample_object(rng: np.random.Generator) -> list[Part]:
    colors = np.stack([sample_color(rng) for _ in range(4)])
    kind = rng.integers(6)
    if kind < 3:
        return (make_ball, make_bottle, make_bowl)[kind](rng, colors)
    plain = Material(colors[0], gloss=float(rng.uniform(0, 0.8)))
    wide, high = rng.uniform(0.2, 0.6), rng.uniform(0.2, 1.2)
    if kind == 3:
        return [
            Part(Lathe(((0, 0), (wide, 0), (wide * rng.uniform(0.3, 1.2), high), (0, high))), plain)
        ]
    if kind == 4:
        return [
            Part(
                Sphere(), plain, (0, float(wide), 0), np.eye(3, dtype=np.float32) * np.float32(wide)
            )
        ]
    return [Part(box((-wide, 0, -0.3), (wide, high, 0.3)), plain)]


def _develop(image: Reals, rng: np.random.Generator) -> Reals:
    """Return the sRGB values that a camera stores: balance, exposure, contrast, noise."""
    balance = exp(rng.normal(0, 0.14, 3)).astype(np.float32)
    exposure = np.float32(exp(rng.normal(0.15, 0.33)))
    exposed = 1 - exp(
        -1.35 * np.clip(image, 0, None) * balance * exposure
    )  # film: soft in the light
    seen: Reals = power(exposed, 1 / 2.2).astype(np.float32)
    contrast = np.float32(rng.uniform(0.75, 1.25))
    seen = (seen - 0.5) * contrast + 0.5 + np.float32(rng.normal(0, 0.04))
    grain = rng.standard_normal(seen.shape[:2], dtype=np.float32) * np.float32(
        rng.uniform(0, 0.012)
    )
    return np.clip(seen + grain[..., None], 0, 1)
