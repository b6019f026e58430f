"""What is told of each image by itself: a digest of its pixels, its hash, how flat and blurred."""

import hashlib

import numpy as np
from PIL import Image

from pipeline.data.image_rows import ImageFacts
from pipeline.health.perceptual_hashes import hash_image

# Sharpness is that of the image at this size, about what a network is given: the pixels of a large
# photograph are blurred without harm.
SHARPNESS_SIDE = 256
# The hash and the colors are of much fewer pixels still; the finest that they need.
HASH_SIDE = 64
# Colors are those of an image in so many cells each way, so that noise is averaged out.
COLOR_CELLS = 32
STRIP_BYTES = 2**20


def describe_image(image: Image.Image) -> ImageFacts:
    """Return the facts of an upright RGB image."""
    small = _shrink(image, SHARPNESS_SIDE)
    tiny = _shrink(small, HASH_SIDE)
    bits, colors = hash_image(tiny)
    return ImageFacts(
        pixels=digest_pixels(image),
        perceptual_hash=bits,
        colors=colors.tobytes(),
        color_range=measure_color_range(tiny),
        sharpness=measure_sharpness(small),
    )


def digest_pixels(image: Image.Image) -> str:
    """Return 32 hex digits of the size and pixels of an RGB image, whatever file they were in."""
    digest = hashlib.sha256(f"{image.width} x {image.height}".encode())
    # In strips, which stay in the processor's cache: less than half the time for a photograph.
    rows = max(1, STRIP_BYTES // (3 * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        digest.update(strip.tobytes())
    return digest.hexdigest()[:32]


def measure_color_range(image: Image.Image) -> int:
    """Return max - min of red, green or blue, whichever is most, of 32 x 32 cells of the image.

    >>> measure_color_range(Image.new("RGB", (50, 40), (200, 0, 0)))
    0
    """
    cells = image.resize((COLOR_CELLS, COLOR_CELLS), Image.Resampling.BOX)
    levels = np.asarray(cells, np.int32)
    return int((levels.max(axis=(0, 1)) - levels.min(axis=(0, 1))).max())


def measure_sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian of the grey image; 0 if it has less than 3 x 3 pixels.

    The Laplacian of a pixel is the sum of its four neighbours less four times the pixel
    (Pech-Pacheco et al. 2000). Sums of whole numbers, so the same on every machine.
    """
    grey = np.asarray(image.convert("L"), np.int32)
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = around - 4 * grey[1:-1, 1:-1]
    count, total = laplacian.size, int(laplacian.sum(dtype=np.int64))
    squares = int((laplacian * laplacian).sum(dtype=np.int64))
    return (count * squares - total * total) / (count * count)


def _shrink(image: Image.Image, most: int) -> Image.Image:
    """Return the image with at most `most` pixels on its longer side."""
    longer = max(image.size)
    if longer <= most:
        return image
    width, height = (max(1, round(side * most / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX, reducing_gap=1.0)
