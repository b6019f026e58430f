"""What a split leaves without use: classes and queries that neither train nor measure a model."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Mask
from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.errors import UserError
from pipeline.splitting.validation_roles import validation_roles

NAMED = 3
REMEDY = "choose another split.protocol, split.test_fraction or split.val_fraction"
VAL_REMEDY = (
    "lower split.test_fraction, or raise split.val_fraction, or set split.val_by image (of few "
    "images: split.protocol random, split.val_by image and split.val_fraction 0.5)"
)


def report_split(catalog: pa.Table, splits: pa.Table) -> list[str]:
    """Return one line for each kind of image that `splits` leaves without use: how many, and which.

    `catalog` and `splits` have the same image_ids, in any order.

    Raises:
        UserError: there is no training image, query or gallery image, or no query has a relevant
            image in the gallery, so that nothing can be measured; or the same of validation, so
            that no best epoch can be chosen.
    """
    catalog, splits = catalog.sort_by("image_id"), splits.sort_by("image_id")
    sets = label_sets(catalog["labels"])
    ids = np.array(splits["image_id"].to_pylist(), dtype=object)
    split = np.array(splits["split"].to_pylist(), dtype=object)
    query = splits["is_query"].to_numpy(zero_copy_only=False)
    gallery = splits["is_gallery"].to_numpy(zero_copy_only=False)
    for name, mask in (("train", split == "train"), ("query", query), ("gallery", gallery)):
        if not mask.any():
            raise UserError(f"split: found no {name} image; allowed: one or more; {REMEDY}")
    without_relevant = query & ~sets.have_relevant(gallery)
    if without_relevant.sum() == query.sum():
        raise UserError(
            f"split: none of the {query.sum()} queries has another image of its class in the "
            f"gallery ({_named(ids[query])}), so nothing can be measured; allowed: one or more "
            f"that does; add images, or {REMEDY}"
        )
    val_query, val_gallery = validation_roles(split, gallery)
    val_without_relevant = val_query & ~sets.have_relevant(val_gallery)
    _require_validation(ids, val_query, val_without_relevant)
    counted = (
        (_is_alone(sets), "classes with one image, which has no match: {} ({})"),
        (without_relevant, "queries without another image of their class in the gallery: {} ({})"),
        (
            val_without_relevant,
            "validation queries without another image of their class to find: {} ({})",
        ),
    )
    return [text.format(mask.sum(), _named(ids[mask])) for mask, text in counted if mask.any()]


def _require_validation(ids: NDArray[np.object_], val_query: Mask, without_relevant: Mask) -> None:
    if not val_query.any():
        raise UserError(
            "split: found no image for validation, so no best epoch can be chosen; allowed: one "
            f"or more; {VAL_REMEDY}"
        )
    if without_relevant.sum() == val_query.sum():
        raise UserError(
            f"split: none of the {val_query.sum()} validation images has another image of its "
            f"class to find ({_named(ids[val_query])}), so no best epoch can be chosen; allowed: "
            f"one or more that does; {VAL_REMEDY}"
        )


def _is_alone(sets: LabelSets) -> Mask:
    """Return bool [N]: whether an image is the only one of one of its labels."""
    counts = sets.count(np.ones(len(sets), dtype=bool))
    return np.logical_or.reduceat(counts[sets.values] == 1, sets.starts[:-1])


def _named(ids: NDArray[np.object_]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(f"'{image_id}'" for image_id in ids[:NAMED]) + more
