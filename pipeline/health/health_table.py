"""The table data/health.parquet: the facts of all images, and the groups of duplicates."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Ints
from pipeline.data.image_rows import ImageColumns
from pipeline.data.tables import HEALTH
from pipeline.health.duplicate_groups import group_alike, group_equal
from pipeline.health.image_faults import BLANK_COLOR_RANGE
from pipeline.health.perceptual_hashes import GRID


def build_health_table(ids: Sequence[str], facts: ImageColumns) -> pa.Table:
    """Return HEALTH of N images: their image_ids, and what is known of them, in the same order."""
    exact = group_equal(facts.pixels)
    columns = {
        "image_id": ids,
        "pixels": facts.pixels,
        "perceptual_hash": facts.perceptual_hash,
        "color_range": facts.color_range,
        "sharpness": facts.sharpness,
        "exact_group": _names(exact, ids, of_more_than_one=np.arange(len(ids))),
        "near_group": _names(_near(facts), ids, of_more_than_one=exact),
    }
    return pa.table(columns, schema=pa.schema(HEALTH.columns))


def _near(facts: ImageColumns) -> Ints:
    """Return int64 [N], as `group_alike`; the hash of a blank image is noise, so it is alone."""
    group = np.arange(len(facts.color_range), dtype=np.int64)
    rows = np.flatnonzero(facts.color_range > BLANK_COLOR_RANGE)
    colors = facts.colors[rows].reshape(-1, GRID, GRID, 3)
    group[rows] = rows[group_alike(facts.perceptual_hash[rows], colors)]
    return group


def _names(group: Ints, ids: Sequence[str], *, of_more_than_one: Ints) -> list[str | None]:
    """Return the first image_id of each image's group, None for a group with one value alone.

    group, of_more_than_one: int64 [N], the group and the value of each image.
    """
    pairs = np.unique(np.stack([group, of_more_than_one]), axis=1)[0]
    values = np.bincount(pairs, minlength=len(group))
    return [ids[first] if values[first] > 1 else None for first in group]
