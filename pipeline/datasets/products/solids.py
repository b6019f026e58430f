"""Solids that a ray can hit, each in its local frame.

Every solid has three methods:

`corners()` returns the corners of a box around it, (3, 8).
`distance(origin, direction)` takes two arrays that broadcast to (3, ...) and returns how far along
the ray it is entered, float32 (...) in units of the direction and inf where missed, and which
piece was hit, int16 (...).
`surface(point, piece)` takes hits, (3, N) and (N,), and returns outward normals (3, N), not yet of
unit length, and print coordinates (2, N): u once around in [0, 1), v from bottom to top in
[0, 1], and v = -1 where the lining shows instead of the print.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Protocol

import numpy as np

from pipeline.datasets.products.portable import hypot, length
from pipeline.datasets.products.rays import (
    NEAREST,
    Pieces,
    Reals,
    around,
    ball,
    bar,
    cone,
    dot,
    keep_nearer,
    no_hits,
    ring,
    shift,
)

SMOOTH = 0.6  # cosine between two pieces of a profile; above it their edge is shaded as round


class Solid(Protocol):
    """The methods of a shape; see the docstring of this file."""

    def corners(self) -> Reals: ...

    def distance(self, origin: Reals, direction: Reals) -> tuple[Reals, Pieces]: ...

    def surface(self, point: Reals, piece: Pieces) -> tuple[Reals, Reals]: ...


@dataclass(frozen=True)
class Lathe:
    """A profile turned around the y axis.

    profile: (radius, y) points of a closed solid, from the axis at the bottom, up the outside and,
    for a vessel, down the inside. So each piece has its outside on one side, and only the root at
    which a ray enters has to be computed.
    """

    profile: tuple[tuple[float, float], ...]

    def corners(self) -> Reals:
        wide = max(radius for radius, _ in self.profile)
        heights = [y for _, y in self.profile]
        return box_corners((-wide, min(heights), -wide), (wide, max(heights), wide))

    def distance(self, origin: Reals, direction: Reals) -> tuple[Reals, Pieces]:
        (ox, oy, oz), (dx, dy, dz) = origin, direction
        across = (dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz)
        best, piece = no_hits(across[1])
        for number, (low, high) in enumerate(pairwise(self.profile)):
            if abs(high[1] - low[1]) < 1e-6:
                found = ring(low, high, oy, dy, across)
            else:
                found = cone(low, high, oy, dy, across)
            keep_nearer(best, piece, found, number)
        return best, piece

    def surface(self, point: Reals, piece: Pieces) -> tuple[Reals, Reals]:
        x, y, z = point
        radius = np.maximum(hypot(x, z), 1e-6).astype(np.float32)
        ends, normals = self._pieces
        start, span = ends[piece, 0], ends[piece, 1]  # (N, 2) each
        along = (radius - start[:, 0]) * span[:, 0] + (y - start[:, 1]) * span[:, 1]
        along = np.clip(along / (span[:, 0] ** 2 + span[:, 1] ** 2), 0, 1)[:, None]
        outward, upward = (normals[piece, 0] * (1 - along) + normals[piece, 1] * along).T
        heights = [height for _, height in self.profile]
        v = (y - min(heights)) / max(max(heights) - min(heights), 1e-6)
        v = np.where(span[:, 1] > 1e-6, np.clip(v, 0, 1), -1)
        return (
            np.stack([outward * x / radius, upward, outward * z / radius]),
            np.stack([around(x, z), v]).astype(np.float32),
        )

    @cached_property
    def _pieces(self) -> tuple[Reals, Reals]:
        """Return start and span of each piece, and its normals at both ends: (P, 2, 2) each."""
        points = np.array(self.profile, np.float32)
        spans = np.diff(points, axis=0)
        flat = np.stack([spans[:, 1], -spans[:, 0]], axis=1)
        flat /= np.maximum(length(flat)[:, None], 1e-9)
        normals = np.repeat(flat[:, None], 2, axis=1)
        for number in range(len(flat) - 1):
            if (flat[number] * flat[number + 1]).sum() > SMOOTH:
                normals[number, 1] = normals[number + 1, 0] = flat[number] + flat[number + 1]
        normals /= np.maximum(length(normals)[..., None], 1e-9)
        return np.stack([points[:-1], spans], axis=1), normals


@dataclass(frozen=True)
class Polyhedron:
    """A convex body: all points p with normal · p <= offset, for each of its planes.

    low, high: corners of a box around it; the print is wrapped around its four sides.
    """

    normals: tuple[tuple[float, float, float], ...]
    offsets: tuple[float, ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def corners(self) -> Reals:
        return box_corners(self.low, self.high)

    def distance(self, origin: Reals, direction: Reals) -> tuple[Reals, Pieces]:
        shape = np.broadcast_shapes(origin.shape, direction.shape)[1:]
        entry = np.full(shape, -np.inf, np.float32)
        leave = np.full(shape, np.inf, np.float32)
        piece = np.zeros(shape, np.int16)
        planes = zip(np.array(self.normals, np.float32), self.offsets, strict=True)
        for number, (normal, offset) in enumerate(planes):
            speed = dot(normal, direction)
            room = np.float32(offset) - dot(normal, origin)
            with np.errstate(divide="ignore", invalid="ignore"):
                reached = room / speed
            later = (speed < 0) & (reached > entry)
            entry = np.where(later, reached, entry)
            piece[later] = number
            leave = np.where((speed > 0) & (reached < leave), reached, leave)
            leave = np.where((speed == 0) & (room < 0), np.float32(-np.inf), leave)
        return np.where((entry < leave) & (entry > NEAREST), entry, np.float32(np.inf)), piece

    def surface(self, point: Reals, piece: Pieces) -> tuple[Reals, Reals]:
        normal = np.array(self.normals, np.float32)[piece].T
        low, high = (np.array(corner, np.float32)[:, None] for corner in (self.low, self.high))
        x, y, z = (point - low) / (high - low)
        sideways = np.abs(normal[0]) >= np.abs(normal[2])
        side = np.where(sideways, np.where(normal[0] > 0, 0, 2), np.where(normal[2] > 0, 1, 3))
        share = np.where(sideways, z, x)
        share = np.where((side == 0) | (side == 3), 1 - share, share)  # reads left to right
        v = np.where(np.abs(normal[1]) > 0.9, -1, np.clip(y, 0, 1))
        u = (side + np.clip(share, 0, 0.999)) / 4
        return normal, np.stack([u, v]).astype(np.float32)


@dataclass(frozen=True)
class Sphere:
    """The unit sphere at the origin; a stretched frame makes it an ellipsoid."""

    def corners(self) -> Reals:
        return box_corners((-1, -1, -1), (1, 1, 1))

    def distance(self, origin: Reals, direction: Reals) -> tuple[Reals, Pieces]:
        found = ball(origin, direction, np.float32(1))
        return found, np.zeros(found.shape, np.int16)

    def surface(self, point: Reals, piece: Pieces) -> tuple[Reals, Reals]:
        del piece  # a sphere has one piece
        return point, np.stack([around(point[0], point[2]), np.clip(point[1] / 2 + 0.5, 0, 1)])


@dataclass(frozen=True)
class Tube:
    """A round bar along a path, its bends and ends rounded; it shows the lining, no print."""

    path: tuple[tuple[float, float, float], ...]
    radius: float

    def corners(self) -> Reals:
        points = np.array(self.path)
        return box_corners(
            tuple(points.min(0) - self.radius),
            tuple(points.max(0) + self.radius),
        )

    def distance(self, origin: Reals, direction: Reals) -> tuple[Reals, Pieces]:
        best, piece = no_hits(origin[0] * direction[0])
        points = np.array(self.path, np.float32)
        radius = np.float32(self.radius)
        for number, (start, end) in enumerate(pairwise(points)):
            moved = shift(origin, start)
            found = bar(moved, direction, end - start, radius)
            keep_nearer(best, piece, found, number)
            keep_nearer(best, piece, ball(moved, direction, radius), number)
        last = ball(shift(origin, points[-1]), direction, radius)
        keep_nearer(best, piece, last, len(points) - 2)
        return best, piece

    def surface(self, point: Reals, piece: Pieces) -> tuple[Reals, Reals]:
        points = np.array(self.path, np.float32)
        start, span = points[piece].T, np.diff(points, axis=0)[piece].T
        along = np.clip(dot(point - start, span) / dot(span, span), 0, 1)
        return point - start - along * span, np.full((2, len(piece)), -1, np.float32)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Polyhedron:
    """Return the box between two corners."""
    normals = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    offsets = (high[0], -low[0], high[1], -low[1], high[2], -low[2])
    return Polyhedron(normals, offsets, low, high)


def box_corners(low: tuple[float, ...], high: tuple[float, ...]) -> Reals:
    """Return the eight corners of a box, (3, 8)."""
    return np.array(list(product(*zip(low, high, strict=True))), np.float32).T
