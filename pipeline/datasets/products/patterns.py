"""Patterns for the surface of a solid and for the ground: (height, width, 3), linear light."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.datasets.products.portable import hypot, sin
from pipeline.datasets.products.rays import Reals

PRINT_HEIGHT, PRINT_WIDTH = 96, 192
GROUND_SIDE = 128

Pattern = Callable[[np.random.Generator, Reals, Reals], Reals]


def draw_print(rng: np.random.Generator, colors: Reals) -> Reals:
    """Return a print in up to three colors (3, 3), of a kind sampled from PRINTS."""
    v, u = np.meshgrid(
        np.linspace(0, 1, PRINT_HEIGHT, dtype=np.float32),
        np.linspace(0, 1, PRINT_WIDTH, endpoint=False, dtype=np.float32),
        indexing="ij",
    )
    share = PRINTS[rng.integers(len(PRINTS))](rng, u, v)
    image = colors[0] + (colors[1] - colors[0]) * share[..., None]
    if rng.random() < 0.45:
        low = rng.uniform(0.1, 0.8)
        band = (v > low) & (v < low + rng.uniform(0.05, 0.15))
        image = np.where(band[..., None], colors[2], image)
    return np.asarray(image.astype(np.float32))


def draw_label(rng: np.random.Generator, image: Reals, paper: Reals, ink: Reals) -> Reals:
    """Return a print with a label on its front and its back: paper, a mark and lines of text."""
    image = image.copy()
    height, width = image.shape[:2]
    low, high = sorted((rng.uniform(0.1, 0.3), rng.uniform(0.5, 0.85)))
    half = rng.uniform(0.07, 0.12)
    v, u = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    rows = rng.integers(0, 2, (int(rng.integers(3, 7)), 6))
    for middle in (0.125, 0.625):
        across, up = (u - middle) / half, (v - low) / (high - low)
        inside = (np.abs(across) < 1) & (up > 0) & (up < 1)
        image[inside] = paper
        line = np.clip((up * 2 * len(rows)).astype(int) // 2, 0, len(rows) - 1)
        word = np.clip(((across + 1) * 3).astype(int), 0, 5)
        written = (rows[line, word] == 1) & ((up * 2 * len(rows)) % 2 < 1.1) & (up < 0.6)
        mark = hypot(across * half * 2, (up - 0.78) * (high - low)) < rng.uniform(0.04, 0.09)
        image[inside & (np.abs(across) < 0.85) & (written | mark)] = ink
    return image


def draw_ground(rng: np.random.Generator, base: Reals, second: Reals) -> Reals:
    """Return a ground in two colors (3,), (128, 128, 3), of a kind sampled from GROUNDS."""
    share = GROUNDS[rng.integers(len(GROUNDS))](rng)
    return np.asarray((base + (second - base) * share[..., None]).astype(np.float32))


def draw_noise(rng: np.random.Generator, rows: int, columns: int, side: int) -> Reals:
    """Return smooth noise in [0, 1], (side, side), of rows x columns random values; it tiles."""
    coarse = rng.random((rows, columns), dtype=np.float32)
    padded = Image.fromarray(np.pad(coarse, 2, mode="wrap"))
    box = (2, 2, 2 + columns, 2 + rows)
    return np.asarray(padded.resize((side, side), Image.Resampling.BICUBIC, box=box))


def _plain(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    del rng, v
    return np.zeros_like(u)


def _bands(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    del u
    return np.asarray(np.mod(v * rng.integers(2, 8) + rng.random(), 1) < rng.uniform(0.25, 0.6))


def _stripes(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    slant = rng.integers(-2, 3)
    return np.mod(u * rng.integers(5, 18) + v * slant, 1) < rng.uniform(0.25, 0.6)


def _dots(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    across, up = rng.integers(6, 15), rng.integers(3, 8)
    odd = np.floor(v * up) % 2 / 2
    from_middle: Reals = hypot(np.mod(u * across + odd, 1) - 0.5, np.mod(v * up, 1) - 0.5)
    return from_middle < rng.uniform(0.2, 0.38)


def _checks(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    across, up = 2 * rng.integers(3, 8), rng.integers(3, 8)
    return (np.floor(u * across) + np.floor(v * up)) % 2


def _zigzag(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    wave = np.abs(np.mod(u * rng.integers(4, 10), 1) - 0.5) * rng.uniform(0.2, 0.6)
    return np.mod((v + wave) * rng.integers(2, 6), 1) < rng.uniform(0.3, 0.6)


def _dipped(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    edge: Reals = rng.uniform(0.25, 0.75) + 0.05 * sin(2 * np.pi * u * rng.integers(0, 6))
    return (v > edge) if rng.random() < 0.5 else (v < edge)


def _faded(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    del u
    return np.clip((v - 0.5) * rng.uniform(1.2, 3) + 0.5, 0, 1)


def _speckled(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    del v
    fine = int(rng.integers(24, 60))
    noise = np.asarray(Image.fromarray(draw_noise(rng, fine, fine, 192)).crop((0, 0, 192, 96)))
    return noise[: u.shape[0], : u.shape[1]] > rng.uniform(0.6, 0.78)


def _patches(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    del v
    noise = draw_noise(rng, int(rng.integers(3, 7)), int(rng.integers(4, 10)), 192)
    return np.clip((noise[: u.shape[0], : u.shape[1]] - 0.5) * 8 + 0.5, 0, 1)


def _lattice(rng: np.random.Generator, u: Reals, v: Reals) -> Reals:
    across, up, wide = rng.integers(5, 12), rng.integers(2, 6), rng.uniform(0.1, 0.25)
    one, other = np.mod(u * across + v * up, 1), np.mod(u * across - v * up, 1)
    return (one < wide) | (other < wide)


PRINTS: tuple[Pattern, ...] = (
    _plain, _bands, _stripes, _dots, _checks, _zigzag, _dipped, _faded, _speckled, _patches,
    _lattice,
)  # fmt: skip


def _paper(rng: np.random.Generator) -> Reals:
    return draw_noise(rng, 3, 3, GROUND_SIDE) * np.float32(0.5)


def _wood(rng: np.random.Generator) -> Reals:
    grain = draw_noise(rng, 48, 2, GROUND_SIDE)
    knots = draw_noise(rng, 6, 2, GROUND_SIDE)
    planks = np.repeat(rng.random(4, dtype=np.float32), GROUND_SIDE // 4)[:, None]
    seam = (np.arange(GROUND_SIDE) % (GROUND_SIDE // 4) == 0)[:, None]
    return np.asarray(np.clip(0.5 * grain + 0.35 * knots + 0.4 * planks - 0.2 + 0.5 * seam, 0, 1))


def _cloth(rng: np.random.Generator) -> Reals:
    place = np.arange(GROUND_SIDE)
    weave = (place[:, None] // 2 + place // 2) % 2 * np.float32(0.25)
    return weave + draw_noise(rng, 5, 5, GROUND_SIDE) * np.float32(0.5)


def _tablecloth(rng: np.random.Generator) -> Reals:
    period = int(rng.choice([8, 16, 32]))
    line = (np.arange(GROUND_SIDE) % period < period // 2) * np.float32(0.5)
    crossed = line[:, None] + line if rng.random() < 0.6 else np.repeat(line[:, None] * 2, 128, 1)
    return crossed * np.float32(rng.uniform(0.4, 1))


def _terrazzo(rng: np.random.Generator) -> Reals:
    return np.clip((draw_noise(rng, 32, 32, GROUND_SIDE) - 0.6) * 8, 0, 1)


def _marble(rng: np.random.Generator) -> Reals:
    vein = draw_noise(rng, 4, 4, GROUND_SIDE) + 0.35 * draw_noise(rng, 14, 14, GROUND_SIDE)
    return np.asarray(np.clip(1 - np.abs(vein - 0.65) * 7, 0, 1))


def _tiles(rng: np.random.Generator) -> Reals:
    period = int(rng.choice([16, 32]))
    joint = np.arange(GROUND_SIDE) % period < 2
    each = rng.random((GROUND_SIDE // period,) * 2, dtype=np.float32) * np.float32(0.4)
    shade = each.repeat(period, 0).repeat(period, 1)
    return np.where(joint[:, None] | joint, np.float32(1), shade)


GROUNDS: tuple[Callable[[np.random.Generator], Reals], ...] = (
    _paper, _paper, _wood, _wood, _cloth, _tablecloth, _terrazzo, _marble, _tiles,
)  # fmt: skip
