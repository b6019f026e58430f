"""The table data/health.parquet: the facts of all images, and the groups of duplicates."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Ints
from pipeline.data.image_rows import ImageFacts
from pipeline.data.tables import HEALTH
from pipeline.health.duplicate_groups import group_alike, group_equal
from pipeline.health.image_faults import is_blank
from pipeline.health.perceptual_hashes import GRID


def build_health_table(facts: Mapping[str, ImageFacts]) -> pa.Table:
    """Return HEALTH of the images `facts`, by image_id and in its order."""
    ids, every = list(facts), list(facts.values())
    exact = group_equal([each.pixels for each in every])
    columns = {
        "image_id": ids,
        "pixels": [each.pixels for each in every],
        "perceptual_hash": [each.perceptual_hash for each in every],
        "color_range": [each.color_range for each in every],
        "sharpness": [each.sharpness for each in every],
        "exact_group": _names(exact, ids, of_more_than_one=np.arange(len(ids))),
        "near_group": _names(_near(every), ids, of_more_than_one=exact),
    }
    return pa.table(columns, schema=pa.schema(HEALTH.columns))


def _near(facts: Sequence[ImageFacts]) -> Ints:
    """Return int64 [N], as `group_alike`; the hash of a blank image is noise, so it is alone."""
    group = np.arange(len(facts), dtype=np.int64)
    rows = np.array([n for n, each in enumerate(facts) if not is_blank(each.color_range)], np.int64)
    bits = np.array([facts[row].perceptual_hash for row in rows], np.uint64)
    colours = np.frombuffer(b"".join(facts[row].colors for row in rows), np.uint8)
    group[rows] = rows[group_alike(bits, colours.reshape(-1, GRID, GRID, 3))]
    return group


def _names(group: Ints, ids: Sequence[str], *, of_more_than_one: Ints) -> list[str | None]:
    """Return the first image_id of each image's group, None for a group with one value alone.

    group, of_more_than_one: int64 [N], the group and the value of each image.
    """
    pairs = np.unique(np.stack([group, of_more_than_one]), axis=1)[0]
    values = np.bincount(pairs, minlength=len(group))
    return [ids[first] if values[first] > 1 else None for first in group]
