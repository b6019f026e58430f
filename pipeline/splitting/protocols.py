"""The split of a dataset: which images train, validate, query, and are in the gallery."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import FEWEST_TO_FIND, label_sets
from pipeline.data.tables import SPLITS
from pipeline.errors import UserError

ROLES = ("train", "val", "query", "gallery")
# No role is "train+query": a query must not be a training image.
SOURCE_SPLITS = ("train", "train+gallery", "val", "query", "gallery", "query+gallery")
# With fewer validation classes, too many images are found by chance.
FEWEST_VAL_CLASSES = 5


@dataclass(frozen=True)
class _Roles:
    """The roles of N images; each mask is bool [N]. Neither train nor val means test."""

    train: Mask
    val: Mask
    query: Mask
    gallery: Mask


def make_splits(
    catalog: pa.Table,
    *,
    protocol: str,
    test_fraction: float,
    val_by: str,
    val_fraction: float,
    seed: int,
) -> pa.Table:
    """Return the `splits` table of `catalog`, ordered by image_id.

    protocol: `official` takes the roles of `source_split`; `class_disjoint` takes
    `test_fraction` of the classes of each group as test; `random` takes that share of the images
    of each class; `auto` is official if the dataset has roles, otherwise class_disjoint.
    val_by: `class` holds out `val_fraction` of the training classes for validation, `image` that
    share of the images of each class; `auto` is class if it gives 5 or more classes, otherwise
    image. The validation images of an official split are kept.

    If images have several labels, the classes of train and test cannot be disjoint: `auto` is then
    random, and image. Each image counts for its lowest label.

    Depends on `seed` and on the set of rows, not on their order.

    Raises:
        UserError: the protocol does not fit the dataset. See `report_split` for what a fitting one
            leaves without use.
    """
    catalog = catalog.sort_by("image_id")
    labels = label_sets(catalog["labels"])
    classes = labels.first().astype(np.int64)
    groups: list[str | None] = catalog["group"].to_pylist()
    source_split: list[str | None] = catalog["source_split"].to_pylist()
    sampler = _Sampler(classes, groups, np.random.default_rng(seed))
    chosen_by = "auto, which chose " if protocol == "auto" else ""
    if protocol == "auto":
        unofficial = "class_disjoint" if labels.single else "random"
        protocol = "official" if any(source_split) else unofficial
    if val_by == "auto" and not labels.single:
        val_by = "image"
    if not labels.single:
        _refuse_disjoint_classes(protocol, val_by)
    if protocol == "official":
        roles = _official(source_split, image_ids=catalog["image_id"].to_pylist())
    elif protocol == "class_disjoint":
        _require_two_classes(classes, found=f"{chosen_by}{protocol}")
        everything = np.ones(len(classes), dtype=bool)
        roles = _train_and_test(sampler.whole_classes(everything, fraction=test_fraction))
    else:
        everything = np.ones(len(classes), dtype=bool)
        roles = _train_and_test(sampler.images(everything, fraction=test_fraction))
    if not roles.val.any():
        val = _validation(sampler, roles.train, val_by, fraction=val_fraction)
        roles = replace(roles, train=roles.train & ~val, val=val)
    return _table(catalog, roles)


def _refuse_disjoint_classes(protocol: str, val_by: str) -> None:
    for key, found, by, allowed in (
        ("protocol", protocol, "class_disjoint", "auto, official, random"),
        ("val_by", val_by, "class", "auto, image"),
    ):
        if found == by:
            raise UserError(
                f"split.{key}: found {found}, but images have several labels, so that classes "
                f"cannot be disjoint; allowed: {allowed}"
            )


def _official(source_split: Sequence[str | None], *, image_ids: Sequence[str]) -> _Roles:
    if not any(source_split):
        raise UserError(
            "split.protocol: found official, but this dataset has no official split; allowed for "
            "it: auto, class_disjoint, random"
        )
    for image_id, roles in zip(image_ids, source_split, strict=True):
        if roles not in SOURCE_SPLITS:
            found = "no split" if roles is None else f"the split '{roles}'"
            raise UserError(
                f"source_split of '{image_id}': found {found}; allowed for split.protocol "
                f"official: {', '.join(SOURCE_SPLITS)}; or set class_disjoint or random"
            )
    splits = [str(roles).split("+") for roles in source_split]
    train, val, query, gallery = (np.array([role in each for each in splits]) for role in ROLES)
    return _Roles(train, val, query, gallery)


def _train_and_test(test: Mask) -> _Roles:
    """Return the roles where each test image is a query and in the gallery."""
    return _Roles(train=~test, val=np.zeros_like(test), query=test, gallery=test)


def _require_two_classes(classes: Ints, *, found: str) -> None:
    count = len(np.unique(classes))
    if count < 2:
        raise UserError(
            f"split.protocol: found {found}, but the dataset has {count} class; allowed: two "
            "classes or more (a small max_images leaves few), or split.protocol random"
        )


def _validation(sampler: "_Sampler", train: Mask, val_by: str, *, fraction: float) -> Mask:
    count = len(np.unique(sampler.classes[train]))
    if val_by == "auto":
        val_by = "class" if _rounded(fraction * count) >= FEWEST_VAL_CLASSES else "image"
    if val_by == "image":
        return sampler.images(train, fraction=fraction)
    if count < 2:
        raise UserError(
            f"split.val_by: found class, but {count} class is for training; allowed: image, auto"
        )
    return sampler.whole_classes(train, fraction=fraction)


@dataclass(frozen=True)
class _Sampler:
    """Samples from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image counts for. groups: its super-class.
    """

    classes: Ints
    groups: Sequence[str | None]
    rng: np.random.Generator

    def whole_classes(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: all images of a share of the classes, the same share of each group.

        Rounded to at least one class and at most all but one.
        """
        members: dict[str, list[int]] = {}
        rows = np.flatnonzero(among)
        labels, first_rows = np.unique(self.classes[rows], return_index=True)
        for label, row in zip(labels, rows[first_rows], strict=True):
            members.setdefault(self.groups[row] or "", []).append(int(label))
        wanted = min(max(_rounded(fraction * len(labels)), 1), len(labels) - 1)
        sampled: list[int] = []
        carry = 0.0
        for group in self.rng.permutation(sorted(members)):
            # What rounding takes from one group, the next gets, so that the total is exact.
            carry += len(members[group]) * wanted / len(labels)
            count = _rounded(carry)
            carry -= count
            sampled += self.rng.permutation(members[group])[:count].tolist()
        return among & np.isin(self.classes, sampled)

    def images(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: a share of the images of each class, at least two or none.

        The sampled images search one another, so a single one has nothing to find. Two images of
        the class remain too; so a class of fewer than four gives none.
        """
        sampled = np.zeros(len(self.classes), dtype=bool)
        carry = 0.0
        for label in self.rng.permutation(np.unique(self.classes[among])):
            rows = np.flatnonzero(among & (self.classes == label))
            if len(rows) < 2 * FEWEST_TO_FIND:
                continue
            # What a small class is too small to give, the next class gives.
            carry += fraction * len(rows)
            count = min(_rounded(carry), len(rows) - FEWEST_TO_FIND)
            if count >= FEWEST_TO_FIND:
                carry = min(carry - count, FEWEST_TO_FIND)
                sampled[self.rng.permutation(rows)[:count]] = True
        return sampled


def _rounded(value: float) -> int:
    # Half is rounded up, also where 0.1 * 25 is slightly below 2.5.
    return math.floor(value + 0.5 + 1e-9)


def _table(catalog: pa.Table, roles: _Roles) -> pa.Table:
    columns = {
        "image_id": catalog["image_id"].to_pylist(),
        "split": np.where(roles.train, "train", np.where(roles.val, "val", "test")),
        "is_query": roles.query,
        "is_gallery": roles.gallery,
    }
    return pa.table(columns, schema=pa.schema(SPLITS.columns))
