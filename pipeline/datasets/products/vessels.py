"""Products turned on a lathe: mug, bottle, vase, bowl, kettle, lamp, ball.

Each function samples one instance: parts that stand on y = 0 around the y axis, about 1 to 2 units
high. `colors` is (4, 3), linear: body, second, third, and an accent.
"""

import numpy as np

from pipeline.datasets.products.patterns import draw_label, draw_print
from pipeline.datasets.products.portable import cos, power, sin
from pipeline.datasets.products.rays import Reals
from pipeline.datasets.products.scene import Material, Part
from pipeline.datasets.products.solids import Lathe, Sphere, Tube

Profile = tuple[tuple[float, float], ...]
WHITE = np.array([0.8, 0.79, 0.74], np.float32)


def make_mug(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A cup with a handle; waist, taper, height and the handle's form vary."""
    height, foot, rim = rng.uniform(0.8, 1.5), rng.uniform(0.4, 0.6), rng.uniform(0.48, 0.66)
    belly = rng.uniform(-0.08, 0.18)
    outside = _curve(foot, rim, height, belly, steps=6)
    body = Lathe(_hollow(outside, thick=0.05, floor=0.07))
    material = _printed(rng, colors, gloss=rng.uniform(0.3, 0.9), label=0.25)
    high, low = height * rng.uniform(0.72, 0.9), height * rng.uniform(0.15, 0.4)
    reach, square = rng.uniform(0.28, 0.5), rng.uniform(0.5, 1.3)
    wall = (foot + rim) / 2 + belly - 0.04
    turn = np.linspace(np.pi / 2, -np.pi / 2, 8)
    handle = Tube(
        tuple(
            (wall + reach * power(max(cos(a), 0.0), square), (high + low) / 2
             + (high - low) / 2 * sin(a), 0.0)
            for a in turn
        ),
        rng.uniform(0.05, 0.09),
    )  # fmt: skip
    of_handle = colors[0] if rng.random() < 0.6 else colors[3]
    return [Part(body, material), Part(handle, Material(of_handle, gloss=0.5))]


def make_bottle(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A bottle with a cap; shoulder, neck and label vary, and some are flasks."""
    wide, neck = rng.uniform(0.32, 0.5), rng.uniform(0.1, 0.18)
    shoulder, top = rng.uniform(0.85, 1.35), rng.uniform(1.65, 2.1)
    bend = rng.uniform(0.1, 0.35)
    points = [(0.0, 0.0), (wide * 0.9, 0.0), (wide, 0.06), (wide * rng.uniform(0.85, 1), shoulder)]
    for share in (0.3, 0.6, 1.0):
        sweep = sin(share * np.pi / 2)
        points.append(
            (wide + (neck - wide) * power(share, rng.uniform(0.8, 2)), shoulder + bend * sweep)
        )
    points += [(neck, top - 0.22), (0.0, top - 0.22)]
    flat = np.diag([1, 1, rng.choice([1.0, 1.0, 0.6])]).astype(np.float32)
    material = _printed(rng, colors, gloss=rng.uniform(0.6, 1), label=0.8)
    cap_wide = neck * rng.uniform(1.05, 1.6)
    cap = Lathe(_solid(((cap_wide, top - 0.24), (cap_wide * rng.uniform(0.7, 1), top))))
    return [
        Part(Lathe(tuple(points)), material, axes=flat),
        Part(cap, Material(colors[3], gloss=0.4), axes=flat),
    ]


def make_vase(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A vase of a free profile, some with two ears."""
    height, steps = rng.uniform(1.3, 1.9), 8
    knots = np.concatenate([rng.uniform(0.25, 0.4, 1), rng.uniform(0.3, 0.7, 2),
                            rng.uniform(0.14, 0.4, 1), rng.uniform(0.2, 0.5, 1)])  # fmt: skip
    where = np.linspace(0, 1, steps)
    radii = sum(k * np.maximum(0, 1 - np.abs(where * 4 - i)) for i, k in enumerate(knots))
    radii = np.convolve(np.pad(radii, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    outside = tuple((float(r), float(y * height)) for r, y in zip(radii, where, strict=True))
    material = _printed(rng, colors, gloss=rng.uniform(0.2, 0.9), label=0.0)
    parts = [Part(Lathe(_hollow(outside, thick=0.05, floor=height * 0.6)), material)]
    if rng.random() < 0.35:
        low, high = height * rng.uniform(0.45, 0.6), height * rng.uniform(0.75, 0.92)
        for side in (-1, 1):
            path = tuple(
                (side * (0.28 + 0.3 * sin(a)), low + (high - low) * a / np.pi, 0.0)
                for a in np.linspace(0, np.pi, 6)
            )
            parts.append(Part(Tube(path, 0.05), Material(colors[3], gloss=0.5)))
    return parts


def make_bowl(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """An open bowl on a foot; depth, flare and lining vary."""
    height, rim, foot = rng.uniform(0.4, 0.85), rng.uniform(0.65, 0.95), rng.uniform(0.25, 0.45)
    outside = _curve(foot, rim, height, rng.uniform(0.02, 0.16), steps=6)
    material = _printed(rng, colors, gloss=rng.uniform(0.3, 0.9), label=0.0)
    lining = colors[rng.choice([0, 2, 3])]
    base = Lathe(_solid(((foot * 0.8, 0.0), (foot * 0.8, 0.07))))
    body = Lathe(_hollow(outside, thick=0.05, floor=0.06))
    return [
        Part(body, Material(lining, material.print, material.gloss), (0, 0.05, 0)),
        Part(base, Material(colors[0])),
    ]


def make_kettle(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A pot with a spout, a lid with a knob, and a handle above or behind."""
    height, wide, top = rng.uniform(0.7, 1.1), rng.uniform(0.5, 0.65), rng.uniform(0.25, 0.42)
    belly = _curve(wide * rng.uniform(0.7, 1), top, height, rng.uniform(0.1, 0.25), steps=6)
    body = Part(Lathe(_solid(belly)), _printed(rng, colors, rng.uniform(0.5, 1), label=0.1))
    metal = Material(colors[3], gloss=0.6)
    lid = Lathe(_solid(((top, height - 0.02), (top * 0.8, height + 0.08), (0.05, height + 0.12))))
    knob = np.diag([0.09, rng.uniform(0.07, 0.14), 0.09]).astype(np.float32)
    reach = rng.uniform(0.25, 0.45)
    spout = Tube(
        ((wide * 0.7, height * 0.35, 0), (wide + reach * 0.5, height * rng.uniform(0.4, 0.6), 0),
         (wide + reach, height * rng.uniform(0.85, 1.1), 0)),
        rng.uniform(0.07, 0.11),
    )  # fmt: skip
    turn = np.linspace(0, np.pi, 8)
    if rng.random() < 0.5:
        rise = rng.uniform(0.4, 0.7)
        arch = [(wide * cos(a) * 0.85, height * 0.8 + rise * sin(a), 0.0) for a in turn]
    else:
        middle, tall = height * 0.55, height * rng.uniform(0.28, 0.42)
        arch = [(-wide * 0.8 - 0.45 * sin(a), middle + tall * cos(a), 0.0) for a in turn]
    return [
        body,
        Part(lid, Material(colors[rng.choice([0, 1])], gloss=0.6)),
        Part(Sphere(), metal, (0, height + 0.19, 0), knob),
        Part(spout, Material(colors[0], gloss=0.6)),
        Part(Tube(tuple(arch), rng.uniform(0.04, 0.075)), metal),
    ]


def make_lamp(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A table lamp: a foot, a stem with beads, and a shade."""
    top, low = rng.uniform(0.15, 0.5), rng.uniform(0.5, 0.78)
    start, height = rng.uniform(0.85, 1.2), rng.uniform(0.45, 0.8)
    outside = _curve(low, max(top, 0.15), height, rng.uniform(-0.1, 0.08), steps=4)
    inside = tuple((radius - 0.03, y) for radius, y in reversed(outside))
    shade = Lathe((*outside, *inside, outside[0]))
    foot_wide, foot_high = rng.uniform(0.3, 0.5), rng.uniform(0.05, 0.25)
    foot = Lathe(_solid(((foot_wide, 0), (foot_wide, 0.05), (0.08, 0.05 + foot_high))))
    metal = Material(colors[3], gloss=0.7)
    parts = [
        Part(shade, _printed(rng, colors, gloss=0.1, label=0.0), (0, start, 0)),
        Part(foot, metal),
        Part(Lathe(_solid(((0.045, 0), (0.045, start + height * 0.8)))), metal),
    ]
    size = rng.uniform(0.12, 0.3)
    for number in range(rng.integers(0, 4)):
        flat = rng.uniform(0.6, 1.1)
        bead = np.diag([size, size * flat, size]).astype(np.float32)
        place = (0.0, 0.12 + foot_high + size * 0.8 + number * size * 1.5, 0.0)
        if place[1] < start - 0.05:
            parts.append(
                Part(Sphere(), Material(colors[rng.choice([1, 3])], gloss=0.8), place, bead)
            )
    return parts


def make_ball(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A printed ball, its poles tilted."""
    material = _printed(rng, colors, gloss=rng.uniform(0.2, 0.8), label=0.15)
    size, tilt = rng.uniform(0.68, 0.8), rng.uniform(0.3, 1.2)
    c, s = cos(tilt), sin(tilt)
    lean = np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    return [Part(Sphere(), material, (0, float(size), 0), (lean * size).astype(np.float32))]


def _printed(rng: np.random.Generator, colors: Reals, gloss: float, label: float) -> Material:
    """Return a printed material, with a label at that probability."""
    image = draw_print(rng, colors[:3])
    if rng.random() < label:
        image = draw_label(rng, image, WHITE if rng.random() < 0.6 else colors[2], colors[3])
    return Material(colors[0], image, float(gloss))


def _curve(low: float, high: float, height: float, belly: float, *, steps: int) -> Profile:
    """Return a wall from radius `low` to `high` that swells by `belly` between."""
    share = np.linspace(0, 1, steps)
    radii = low + (high - low) * share + belly * sin(np.pi * share)
    return tuple((float(r), float(s * height)) for r, s in zip(radii, share, strict=True))


def _solid(outside: Profile) -> Profile:
    """Return a closed profile: a wall with a bottom and a top."""
    return ((0.0, outside[0][1]), *outside, (0.0, outside[-1][1]))


def _hollow(outside: Profile, *, thick: float, floor: float) -> Profile:
    """Return the closed profile of a vessel: a wall, a rim, the inside and its floor."""
    inside = [(max(r - thick, 0.02), y) for r, y in reversed(outside) if y > floor + 1e-3]
    inside = inside[:: 2 if len(inside) > 3 else 1]
    return ((0.0, 0.0), *outside, *inside, (inside[-1][0] * 0.9, floor), (0.0, floor))
