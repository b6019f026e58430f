"""Where a ray meets the pieces of solids: cones, rings, balls and bars.

Origins and directions are (3, ...) or their components (...), float32. A distance is in units of
the direction; it is inf or nan where the ray misses, and `keep_nearer` ignores both.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.products.portable import arctan2

Reals = NDArray[Any]  # float32, unless said otherwise
Pieces = NDArray[np.int16]
Point2 = tuple[float, float]

NEAREST = 1e-3  # a nearer hit is the surface where the ray starts
MISS = np.float32(np.inf)


def no_hits(like: Reals) -> tuple[Reals, Pieces]:
    """Return distances (inf) and pieces (0) of the shape of `like`."""
    return np.full(like.shape, MISS), np.zeros(like.shape, np.int16)


def keep_nearer(best: Reals, piece: Pieces, found: Reals, number: int) -> None:
    """Where `found` is nearer than `best`, put it there, and `number` into `piece`."""
    nearer = found < best
    np.copyto(best, found, where=nearer)
    np.copyto(piece, np.int16(number), where=nearer)


def cone(
    low: Point2, high: Point2, oy: Reals, dy: Reals, across: tuple[Reals, Reals, Reals]
) -> Reals:
    """Return where rays enter the cone between two (radius, y) points turned around y.

    across: direction², origin · direction and origin², of x and z alone. With s the cone's radius
    at the origin's height and k its slope, x² + z² = (s + k t dy)² is a quadratic in t; from
    outside to inside the root is (-b - √) / a whatever the sign of a, and for a piece that goes
    down, whose outside is at the axis, (-b + √) / a.
    """
    slope = np.float32((high[0] - low[0]) / (high[1] - low[1]))
    start = np.float32(low[0]) + slope * (oy - np.float32(low[1]))
    a = across[0] - (slope * dy) ** 2
    b = across[1] - start * (slope * dy)
    c = across[2] - start * start
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b * b - a * c)
        t = (-b - root) / a if high[1] > low[1] else (root - b) / a
        y = oy + t * dy
    bottom, top = sorted((np.float32(low[1]), np.float32(high[1])))
    return np.where((y >= bottom) & (y <= top) & (t > NEAREST), t, MISS)


def ring(
    start: Point2, end: Point2, oy: Reals, dy: Reals, across: tuple[Reals, Reals, Reals]
) -> Reals:
    """Return where rays meet the flat ring between two (radius, y) points of one height.

    A ring that goes inwards is seen from above, one that goes outwards from below.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (np.float32(start[1]) - oy) / dy
        square = across[2] + t * (2 * across[1] + t * across[0])
    inner, outer = sorted((start[0], end[0]))
    seen = dy < 0 if end[0] < start[0] else dy > 0
    inside = (square >= np.float32(inner * inner)) & (square <= np.float32(outer * outer))
    return np.where(seen & inside & (t > NEAREST), t, MISS)


def ball(origin: Reals, direction: Reals, radius: np.float32) -> Reals:
    """Return where rays enter a sphere at the origin of their frame."""
    a = dot(direction, direction)
    b = dot(origin, direction)
    c = dot(origin, origin) - radius * radius
    with np.errstate(invalid="ignore"):
        t = (-b - np.sqrt(b * b - a * c)) / a
    return np.where(t > NEAREST, t, MISS)


def bar(origin: Reals, direction: Reals, span: Reals, radius: np.float32) -> Reals:
    """Return where rays enter the side of a cylinder from the origin of their frame to `span`."""
    long = np.float32(dot(span, span))
    of_origin, of_direction = dot(span, origin), dot(span, direction)
    a = dot(direction, direction) - of_direction * of_direction / long
    b = dot(origin, direction) - of_origin * of_direction / long
    c = dot(origin, origin) - of_origin * of_origin / long - radius * radius
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (-b - np.sqrt(b * b - a * c)) / a
        along = of_origin + t * of_direction
    return np.where((along >= 0) & (along <= long) & (t > NEAREST), t, MISS)


def dot(left: Reals, right: Reals) -> Reals:
    """Return the dot product over the first axis, of length three; the rest broadcasts."""
    return np.asarray(left[0] * right[0] + left[1] * right[1] + left[2] * right[2])


def shift(origin: Reals, point: Reals) -> Reals:
    """Return origins (3, ...) as seen from `point`, (3,)."""
    return origin - point.reshape((3,) + (1,) * (origin.ndim - 1))


def around(x: Reals, z: Reals) -> Reals:
    """Return the angle around y as a share of a turn, in [0, 1)."""
    share: Reals = np.mod(arctan2(z, x) / (2 * np.pi), 1).astype(np.float32)
    return share
