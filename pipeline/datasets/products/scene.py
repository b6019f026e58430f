"""The parts of a scene, the camera, and which part each ray of the camera hits."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipeline.datasets.products.portable import inverse, length, product
from pipeline.datasets.products.rays import Pieces, Reals
from pipeline.datasets.products.solids import Solid

NOTHING = -1
IDENTITY = np.eye(3, dtype=np.float32)


@dataclass(frozen=True)
class Material:
    """How a surface looks: colors are linear light in [0, 1].

    lining: (3,), the color where there is no print.
    print: (height, width, 3), wrapped once around the solid, its first row at the bottom.
    gloss: 0 is chalk, 1 is glaze.
    """

    lining: Reals
    print: Reals | None = None
    gloss: float = 0.3


@dataclass(frozen=True)
class Part:
    """A solid at a place: world = axes @ local + place. `axes` may stretch."""

    solid: Solid
    material: Material
    place: tuple[float, float, float] = (0, 0, 0)
    axes: Reals = field(default_factory=lambda: IDENTITY)

    @cached_property
    def inverse(self) -> Reals:
        """The axes' inverse, (3, 3)."""
        return inverse(self.axes).astype(np.float32)

    def corners(self) -> Reals:
        """Return the corners of a box around it in the world, (3, 8)."""
        return (
            transform(self.axes, self.solid.corners()) + np.array(self.place, np.float32)[:, None]
        )

    def to_local(self, point: Reals) -> Reals:
        """Return world points (3, ...) in the solid's frame."""
        place = np.array(self.place, np.float32).reshape((3,) + (1,) * (point.ndim - 1))
        return transform(self.inverse, point - place)

    def moved(self, turn: Reals, place: Reals) -> "Part":
        """Return the part turned about the origin of the world by (3, 3), then shifted by (3,)."""
        x, y, z = transform(turn, np.array(self.place, np.float32)) + place
        moved = (float(x), float(y), float(z))
        return Part(self.solid, self.material, moved, product(turn, self.axes).astype(np.float32))


@dataclass(frozen=True)
class Camera:
    """A pinhole at `eye` that looks at `target`; `focal` is in widths of the image."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float

    @cached_property
    def axes(self) -> Reals:
        """Right, up and forward as rows, (3, 3)."""
        forward = np.array(self.target, np.float64) - np.array(self.eye)
        forward /= length(forward)
        right = np.cross(forward, (0, 1, 0))
        right /= length(right)
        return np.stack([right, np.cross(right, forward), forward]).astype(np.float32)

    def rays(self, side: int) -> Reals:
        """Return the directions through the pixels of a square image, (3, side, side).

        A direction is as long as one unit of depth, so a distance along it is a depth.
        """
        across = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) / np.float32(self.focal)
        right, up, forward = self.axes[:, :, None, None]
        return np.asarray(forward + right * across[None, None, :] - up * across[None, :, None])

    def project(self, point: Reals, side: int) -> tuple[Reals, Reals]:
        """Return columns and rows in pixels, and depths as (N,), of world points (3, N)."""
        right, up, depth = transform(self.axes, point - np.array(self.eye, np.float32)[:, None])
        scale = self.focal * side / np.maximum(depth, 1e-3)
        return np.stack([right * scale + side / 2, side / 2 - up * scale]), depth


@dataclass(frozen=True)
class Hits:
    """What each pixel shows: depth (inf: nothing), number of the part (-1: nothing), its piece."""

    depth: Reals
    part: Pieces
    piece: Pieces


def cast_camera(parts: list[Part], camera: Camera, side: int) -> Hits:
    """Return what the camera sees of the parts, (side, side) each."""
    hits = Hits(
        np.full((side, side), np.inf, np.float32),
        np.full((side, side), NOTHING, np.int16),
        np.zeros((side, side), np.int16),
    )
    rays = camera.rays(side)
    eye = np.array(camera.eye, np.float32)[:, None, None]
    for number, part in enumerate(parts):
        window = _window(part, camera, side)
        seen = (slice(None), *window)
        depth, piece = part.solid.distance(part.to_local(eye), transform(part.inverse, rays[seen]))
        nearer = depth < hits.depth[window]
        np.copyto(hits.depth[window], depth, where=nearer)
        np.copyto(hits.piece[window], piece, where=nearer)
        np.copyto(hits.part[window], np.int16(number), where=nearer)
    return hits


def cast_shadow(parts: list[Part], origin: Reals, direction: Reals, reach: float) -> Reals:
    """Return 1 where a ray from `origin` (3, ...) meets a part within `reach`, else 0: (...)."""
    dark = np.zeros(origin.shape[1:], bool)
    along = direction.reshape((3,) + (1,) * (origin.ndim - 1)).astype(np.float32)
    for part in parts:
        found, _ = part.solid.distance(part.to_local(origin), transform(part.inverse, along))
        dark |= found < reach
    return dark.astype(np.float32)


def transform(matrix: Reals, point: Reals) -> Reals:
    """Return matrix (3, 3) @ points (3, ...), without BLAS, whose threads could change a bit."""
    if matrix is IDENTITY:
        return point
    return np.stack([row[0] * point[0] + row[1] * point[1] + row[2] * point[2] for row in matrix])


def _window(part: Part, camera: Camera, side: int) -> tuple[slice, slice]:
    """Return the rows and columns in which a part can be seen; all, if it reaches the camera."""
    pixels, depth = camera.project(part.corners(), side)
    if depth.min() < 0.05:
        return slice(0, side), slice(0, side)
    low = np.clip(np.floor(pixels.min(1)), 0, side).astype(int)
    high = np.clip(np.ceil(pixels.max(1)), 0, side).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])
