"""Who is trained on, who asks and who is searched: one row of splits.parquet for each image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import label_sets
from pipeline.data.tables import SPLITS
from pipeline.errors import UserError

ROLES = ("train", "val", "query", "gallery")
# An image that was trained on measures nothing as a query.
SOURCE_SPLITS = ("train", "train+gallery", "val", "query", "gallery", "query+gallery")
# Fewer validation classes than this say little: their images are found by chance too easily.
FEWEST_VAL_CLASSES = 5
FEWEST_TO_FIND = 2


@dataclass(frozen=True)
class _Roles:
    """The roles of N images; each mask is bool [N]. What is neither train nor val is test."""

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

    protocol: `official` takes the roles of `source_split`; `class_disjoint` gives
    `test_fraction` of the classes of each group to test; `random` that share of each class's
    images; `auto` is official where the dataset has roles, else class_disjoint. Then
    `val_fraction` of train is held out by `class`, by `image` of each class, or `auto`: by class
    unless that leaves under 5 classes. A dataset's own val is kept as it is.

    Where images have several labels, classes cannot be held apart: `auto` is random, and by
    image, each class then drawn among the images whose least label it is.

    Depends on `seed` and on the set of rows, not on their order.

    Raises:
        UserError: the protocol does not fit the dataset. What a fitting one leaves without use
            is told by `split_report`.
    """
    catalog = catalog.sort_by("image_id")
    labels = label_sets(catalog["labels"])
    classes = labels.first().astype(np.int64)
    groups: list[str | None] = catalog["group"].to_pylist()
    source_split: list[str | None] = catalog["source_split"].to_pylist()
    draw = _Sampler(classes, groups, np.random.default_rng(seed))
    if protocol == "auto":
        apart = "class_disjoint" if labels.single else "random"
        protocol = "official" if any(source_split) else apart
    if val_by == "auto" and not labels.single:
        val_by = "image"
    if not labels.single:
        _refuse_classes(protocol, val_by)
    if protocol == "official":
        roles = _official(source_split, image_ids=catalog["image_id"].to_pylist())
    elif protocol == "class_disjoint":
        roles = _apart(_test_classes(draw, fraction=test_fraction))
    else:
        everything = np.ones(len(classes), dtype=bool)
        roles = _apart(draw.images(everything, fraction=test_fraction))
    if not roles.val.any():
        val = _validation(draw, roles.train, val_by, fraction=val_fraction)
        roles = replace(roles, train=roles.train & ~val, val=val)
    return _table(catalog, roles)


def _refuse_classes(protocol: str, val_by: str) -> None:
    for key, found, by, allowed in (
        ("protocol", protocol, "class_disjoint", "auto, official, random"),
        ("val_by", val_by, "class", "auto, image"),
    ):
        if found == by:
            raise UserError(
                f"split.{key}: found {found}, but images have several labels, so that no class "
                f"can be held apart; allowed: {allowed}"
            )


def _official(source_split: Sequence[str | None], *, image_ids: Sequence[str]) -> _Roles:
    if not any(source_split):
        raise UserError(
            "split.protocol: found official, but this dataset has no split of its own; allowed "
            "for it: auto, class_disjoint, random"
        )
    for image_id, roles in zip(image_ids, source_split, strict=True):
        if roles not in SOURCE_SPLITS:
            found = "no split" if roles is None else f"the split '{roles}'"
            raise UserError(
                f"source_split of '{image_id}': found {found}; allowed for split.protocol "
                f"official: {', '.join(SOURCE_SPLITS)}; or set class_disjoint or random"
            )
    parts = [str(roles).split("+") for roles in source_split]
    train, val, query, gallery = (np.array([role in part for part in parts]) for role in ROLES)
    return _Roles(train, val, query, gallery)


def _apart(test: Mask) -> _Roles:
    """Return the roles where the images of `test` are searched among themselves."""
    return _Roles(train=~test, val=np.zeros_like(test), query=test, gallery=test)


def _test_classes(draw: "_Sampler", *, fraction: float) -> Mask:
    count = len(np.unique(draw.classes))
    if count < 2:
        raise UserError(
            f"split.protocol: found class_disjoint, but the dataset has {count} class; allowed: "
            "two classes or more, or split.protocol random"
        )
    return draw.whole_classes(np.ones(len(draw.classes), dtype=bool), fraction=fraction)


def _validation(draw: "_Sampler", train: Mask, val_by: str, *, fraction: float) -> Mask:
    count = len(np.unique(draw.classes[train]))
    if val_by == "auto":
        val_by = "class" if _rounded(fraction * count) >= FEWEST_VAL_CLASSES else "image"
    if val_by == "image":
        return draw.images(train, fraction=fraction)
    if count < 2:
        raise UserError(
            f"split.val_by: found class, but {count} class is for training; allowed: image, auto"
        )
    return draw.whole_classes(train, fraction=fraction)


@dataclass(frozen=True)
class _Sampler:
    """Draws from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image goes by. groups: its super-class.
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
        drawn: list[int] = []
        carry = 0.0
        for group in self.rng.permutation(sorted(members)):
            # What rounding took from one group, the next gets: the whole share comes out even.
            carry += len(members[group]) * wanted / len(labels)
            count = _rounded(carry)
            carry -= count
            drawn += self.rng.permutation(members[group])[:count].tolist()
        return among & np.isin(self.classes, drawn)

    def images(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: a share of the images of each class, two or more or none of them.

        They are searched among themselves, where a lone one has nothing to find; so two stay,
        too, and a class of fewer than four gives none.
        """
        drawn = np.zeros(len(self.classes), dtype=bool)
        carry = 0.0
        for label in self.rng.permutation(np.unique(self.classes[among])):
            rows = np.flatnonzero(among & (self.classes == label))
            if len(rows) < 2 * FEWEST_TO_FIND:
                continue
            # Small classes give two by turns: what one was due and did not give, the next does.
            carry += fraction * len(rows)
            count = min(_rounded(carry), len(rows) - FEWEST_TO_FIND)
            if count >= FEWEST_TO_FIND:
                carry = min(carry - count, FEWEST_TO_FIND)
                drawn[self.rng.permutation(rows)[:count]] = True
        return drawn


def _rounded(value: float) -> int:
    # Half goes up, also where 0.1 * 25 comes out a hair below.
    return math.floor(value + 0.5 + 1e-9)


def _table(catalog: pa.Table, roles: _Roles) -> pa.Table:
    columns = {
        "image_id": catalog["image_id"].to_pylist(),
        "split": np.where(roles.train, "train", np.where(roles.val, "val", "test")),
        "is_query": roles.query,
        "is_gallery": roles.gallery,
    }
    return pa.table(columns, schema=pa.schema(SPLITS.columns))
