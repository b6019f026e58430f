"""What is known of images, as the columns that packed images give."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.data.image_rows import ImageColumns, ImageFacts
from pipeline.health.perceptual_hashes import GRID

COLORS = 3 * GRID**2  # bytes of an image


def columns_of(facts: Sequence[ImageFacts]) -> ImageColumns:
    """Return the facts of images, whose sizes and digests do not matter, in columns."""
    nothing = np.zeros(len(facts), np.int32)
    return ImageColumns(
        digest=np.zeros((len(facts), 32), np.uint8),
        width=nothing,
        height=nothing,
        pixels=pa.array([each.pixels for each in facts], pa.string()),
        perceptual_hash=np.array([each.perceptual_hash for each in facts], np.uint64),
        colors=np.frombuffer(b"".join(each.colors for each in facts), np.uint8).reshape(-1, COLORS),
        color_range=np.array([each.color_range for each in facts], np.int32),
        sharpness=np.array([each.sharpness for each in facts], np.float64),
    )
