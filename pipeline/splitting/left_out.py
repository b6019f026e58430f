"""What a split leaves without use: classes and queries that neither train nor measure a model."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Mask
from pipeline.data.label_sets import FEWEST_TO_FIND, LabelSets, label_sets
from pipeline.splitting.validation_roles import validation_roles

NAMED = 3
# Validation measures recall and precision among this many nearest, as long as it is this large.
FEWEST_VAL_OTHERS = 5
# With fewer validation queries, a gain of training may always be chance, so `auto` does not train.
FEWEST_VAL_QUERIES = 20
REMEDY = "choose another split.protocol, split.test_fraction or split.val_fraction"
VAL_REMEDY = (
    "lower split.test_fraction, or raise split.val_fraction, or set split.val_by image (of few "
    "images: split.protocol random, split.val_by image and split.val_fraction 0.5)"
)


@dataclass(frozen=True)
class LeftOut:
    """What a split leaves without use, each kind a line.

    against_measuring, against_training: why it cannot be measured or trained with, [] if it can.
    against_choosing: why it could not be told whether training made the model better.
    unused: images without use, their number and the first of them; no obstacle.
    """

    against_measuring: list[str]
    against_training: list[str]
    against_choosing: list[str]
    unused: list[str]

    @property
    def enough_to_train(self) -> bool:
        """Whether there is enough to train, to validate and to measure with."""
        return not self.against_training and not self.against_measuring


def find_left_out(catalog: pa.Table, splits: pa.Table) -> LeftOut:
    """Return what `splits` leaves without use. Both have the same image_ids, in any order."""
    catalog, splits = catalog.sort_by("image_id"), splits.sort_by("image_id")
    sets = label_sets(catalog["labels"])
    ids = np.array(splits["image_id"].to_pylist(), dtype=object)
    split = np.array(splits["split"].to_pylist(), dtype=object)
    query = splits["is_query"].to_numpy(zero_copy_only=False)
    gallery = splits["is_gallery"].to_numpy(zero_copy_only=False)
    val_query, val_gallery = validation_roles(split, gallery)
    without_relevant = query & ~sets.have_relevant(gallery)
    val_without_relevant = val_query & ~sets.have_relevant(val_gallery)
    counted = (
        (_is_alone(sets), "classes with one image, which has no match: {} ({})"),
        (without_relevant, "queries without another image of their class in the gallery: {} ({})"),
        (
            val_without_relevant,
            "validation queries without another image of their class to find: {} ({})",
        ),
    )
    return LeftOut(
        _against_measuring(ids, query, gallery, without_relevant),
        [
            *_against_training(sets, split == "train"),
            *_against_validating(ids, val_query, val_gallery, val_without_relevant),
        ],
        _against_choosing(int((val_query & ~val_without_relevant).sum())),
        [text.format(mask.sum(), _named(ids[mask])) for mask, text in counted if mask.any()],
    )


def _against_measuring(
    ids: NDArray[np.object_], query: Mask, gallery: Mask, without_relevant: Mask
) -> list[str]:
    empty = [name for name, mask in (("query", query), ("gallery", gallery)) if not mask.any()]
    if empty:
        return [f"found no {name} image; allowed: one or more; {REMEDY}" for name in empty]
    if without_relevant.sum() < query.sum():
        return []
    return [
        f"none of the {query.sum()} queries has another image of its class in the gallery "
        f"({_named(ids[query])}), so nothing can be measured; allowed: one or more that does; add "
        f"images, or {REMEDY}"
    ]


def _against_training(sets: LabelSets, train: Mask) -> list[str]:
    if not train.any():
        return [f"found no train image; allowed: one or more; {REMEDY}"]
    of_class = sets.count(train)
    classes = int((of_class > 0).sum())
    if (of_class >= FEWEST_TO_FIND).any() and classes > 1:
        return []
    return [
        f"found {classes} {'class' if classes == 1 else 'classes'} for training, the "
        f"largest of {of_class.max()} images; allowed: two classes or more, one of them of two "
        f"images or more; {REMEDY}"
    ]


def _against_validating(
    ids: NDArray[np.object_], query: Mask, gallery: Mask, without_relevant: Mask
) -> list[str]:
    if not query.any():
        return [
            "found no image for validation, so no best epoch can be chosen; allowed: one "
            f"or more; {VAL_REMEDY}"
        ]
    if without_relevant.sum() == query.sum():
        return [
            f"none of the {query.sum()} validation images has another image of its "
            f"class to find ({_named(ids[query])}), so no best epoch can be chosen; allowed: "
            f"one or more that does; {VAL_REMEDY}"
        ]
    others = int(gallery.sum()) - int((query & gallery).any())
    if others < FEWEST_VAL_OTHERS:
        return [
            f"found {query.sum()} validation images to search among {others} others; "
            f"allowed: {FEWEST_VAL_OTHERS} others or more; {VAL_REMEDY}"
        ]
    return []


def _against_choosing(queries: int) -> list[str]:
    if queries >= FEWEST_VAL_QUERIES:
        return []
    return [
        f"found {queries} validation images with a match, too few to tell whether training "
        f"made the model better; split.protocol auto trains with {FEWEST_VAL_QUERIES} or more "
        "(of 80 images in classes of 8 or more); another one trains with these too"
    ]


def _is_alone(sets: LabelSets) -> Mask:
    """Return bool [N]: whether an image is the only one of one of its labels."""
    counts = sets.count(np.ones(len(sets), dtype=bool))
    return np.logical_or.reduceat(counts[sets.values] == 1, sets.starts[:-1])


def _named(ids: NDArray[np.object_]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(f"'{image_id}'" for image_id in ids[:NAMED]) + more
