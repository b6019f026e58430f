"""Thumbnails of one size, and the atlas: one JPEG that holds them row by row."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from pipeline.data.packed_images import PackedImages

# Multiples of a JPEG's blocks of 16 pixels, so that no thumbnail bleeds into the next one.
SIDES = (96, 80, 64, 48, 32, 16)
# Limits of an atlas, which 3,000 images of 64 px keep. Phones refuse much larger images.
MOST_PIXELS = 12_500_000
MOST_BYTES = 2_000_000
QUALITIES = (75, 65, 55, 45, 35, 25, 15)


@dataclass(frozen=True)
class Atlas:
    """N thumbnails in one square image, row by row. side: of each, in pixels. jpeg: the image."""

    side: int
    columns: int
    jpeg: bytes


def thumbnail_side(count: int) -> int:
    """Return the largest side, in pixels, at which `count` thumbnails fit an atlas."""
    return next((side for side in SIDES if count * side * side <= MOST_PIXELS), SIDES[-1])


def shrink_images(
    image_ids: Sequence[str], images: PackedImages, *, side: int
) -> list[Image.Image]:
    """Return each image as RGB, `side` pixels square: its middle if it is not square."""
    return [
        ImageOps.fit(
            images.decode_small(image_id, side=2 * side), (side, side), Image.Resampling.LANCZOS
        )
        for image_id in image_ids
    ]


def draw_grid(thumbnails: Sequence[Image.Image]) -> Image.Image:
    """Return N >= 1 thumbnails of one size as a square of ceil(sqrt(N)) rows and columns."""
    side, columns = thumbnails[0].width, columns_of(len(thumbnails))
    grid = Image.new("RGB", (columns * side, columns * side), "white")
    for number, thumbnail in enumerate(thumbnails):
        grid.paste(thumbnail, (number % columns * side, number // columns * side))
    return grid


def encode_atlas(thumbnails: Sequence[Image.Image], *, most_bytes: int = MOST_BYTES) -> Atlas:
    """Return the atlas of N >= 1 thumbnails, at the best quality that fits `most_bytes`."""
    grid = draw_grid(thumbnails)
    for quality in QUALITIES:
        jpeg = io.BytesIO()
        grid.save(jpeg, "JPEG", quality=quality, optimize=True)
        if jpeg.tell() <= most_bytes:
            break
    return Atlas(thumbnails[0].width, columns_of(len(thumbnails)), jpeg.getvalue())


def columns_of(count: int) -> int:
    """Return the columns of a square grid that holds `count` thumbnails.

    >>> [columns_of(count) for count in (1, 2, 4, 5, 3000)]
    [1, 2, 2, 3, 55]
    """
    return math.isqrt(count - 1) + 1
