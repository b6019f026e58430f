"""The split of a dataset: which images train, validate, query, and are in the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import FEWEST_TO_FIND, LabelSets, label_sets
from pipeline.data.tables import SPLITS
from pipeline.errors import UserError
from pipeline.health.duplicate_groups import group_equal
from pipeline.splitting.automatic import (
    AUTO,
    TEST_ONLY,
    SplitOptions,
    choose_validation,
    list_protocols,
    round_half_up,
)
from pipeline.splitting.left_out import LeftOut, find_left_out

ONE_CLASS = (
    "split: all images are of one class, or of none, so there is nothing to tell apart; to train "
    "and to measure, put them into folders of two classes or more"
)
ROLES = ("train", "val", "query", "gallery")
# No role is "train+query": a query must not be a training image.
SOURCE_SPLITS = ("train", "train+gallery", "val", "query", "gallery", "query+gallery")


@dataclass(frozen=True)
class _Roles:
    """The roles of N images; each mask is bool [N]. An image without a role is unused."""

    train: Mask
    val: Mask
    query: Mask
    gallery: Mask


@dataclass(frozen=True)
class Split:
    """The `splits` table of a dataset, ordered by image_id, and the options that made it.

    options: without `auto`. left_out: what the split leaves without use. untrained: why `auto`
    leaves nothing to train on, a line each; [] where it leaves something.
    """

    table: pa.Table
    options: SplitOptions
    left_out: LeftOut
    untrained: list[str] = field(default_factory=list)

    @property
    def obstacles(self) -> list[str]:
        """What would stop a later stage, a line each. Without a query, measuring is left out."""
        if self.options.protocol == TEST_ONLY:
            return []
        training = [] if self.untrained else self.left_out.against_training
        return [*self.left_out.against_measuring, *training]


def make_splits(
    catalog: pa.Table,
    options: SplitOptions,
    *,
    seed: int,
    health: pa.Table | None = None,
    published: bool = False,
) -> Split:
    """Return the split of `catalog`.

    Images of the same pixels stay together in what is sampled of images. Where whole classes are
    sampled, an image for training is unused if it has the pixels of one that is held out, under
    another class. So it is in an official split, unless it is a `published` one, whose train and
    test images stay what they are, as scores are published of it.

    If images have several labels, the classes of train and test cannot be disjoint. Each image
    counts for its lowest label.

    Depends on `seed` and on the set of rows, not on their order.

    health: HEALTH of the images, or of some; None: no two have the same pixels.

    Raises:
        UserError: an option that is not `auto` does not fit the dataset.
    """
    catalog = catalog.sort_by("image_id")
    labels = label_sets(catalog["labels"])
    units = _find_units(catalog, health)
    if not labels.single:
        _refuse_disjoint_classes(options.protocol, options.val_by)
    protocols, why = [options.protocol], list[str]()
    if options.protocol == AUTO:
        protocols = list_protocols(labels, has_roles=any(catalog["source_split"].to_pylist()))
    for protocol in protocols:
        chosen = replace(options, protocol=protocol)
        split = _split(catalog, labels, chosen, seed=seed, units=units, published=published)
        left_out = split.left_out
        against = left_out.against_choosing if options.protocol == AUTO else []
        if left_out.enough_to_train and not against:
            return split
        if protocol != TEST_ONLY:
            why = left_out.against_training + left_out.against_measuring or against
    # Roles of its own by which nothing can be measured stay an obstacle.
    undone = options.protocol == AUTO and (
        split.options.protocol == TEST_ONLY or not split.left_out.against_measuring
    )
    if len(np.unique(labels.values)) == 1:
        why = [ONE_CLASS]
    return _untrained(split, why) if undone else split


def _untrained(split: Split, why: list[str]) -> Split:
    """Return the split without images for training or validation, which stay in the gallery."""
    roles = zip(
        split.table["split"].to_pylist(), split.table["is_gallery"].to_pylist(), strict=True
    )
    names = [
        name if name not in ("train", "val") else "test" if in_gallery else "unused"
        for name, in_gallery in roles
    ]
    place = split.table.schema.get_field_index("split")
    column = pa.array(names, pa.string())
    table = split.table.set_column(place, SPLITS.columns[place], column)
    return replace(split, table=table, untrained=why)


def _find_units(catalog: pa.Table, health: pa.Table | None) -> Ints:
    """Return int64 [N]: for each image of the catalog, the first row that has the same pixels."""
    ids = catalog["image_id"].to_pylist()
    group_of: dict[str, str | None] = {}
    if health is not None:
        group_of = dict(
            zip(health["image_id"].to_pylist(), health["exact_group"].to_pylist(), strict=True)
        )
    return group_equal([group_of.get(image_id) or image_id for image_id in ids])


def _split(
    catalog: pa.Table,
    labels: LabelSets,
    options: SplitOptions,
    *,
    seed: int,
    units: Ints,
    published: bool,
) -> Split:
    classes = labels.first().astype(np.int64)
    sampler = _Sampler(classes, catalog["group"].to_pylist(), units, np.random.default_rng(seed))
    everything = np.ones(len(classes), dtype=bool)
    if options.protocol == "official":
        source_split = catalog["source_split"].to_pylist()
        roles = _official(source_split, image_ids=catalog["image_id"].to_pylist())
    elif options.protocol == "class_disjoint":
        _require_two_classes(classes)
        roles = _train_and_test(sampler.whole_classes(everything, fraction=options.test_fraction))
    elif options.protocol == "random":
        roles = _train_and_test(sampler.images(everything, fraction=options.test_fraction))
    else:
        roles = _test_only(labels)
    test = (roles.query | roles.gallery) & ~roles.train & ~roles.val
    copied = np.isin(units, units[test])
    if not (published and options.protocol == "official"):
        roles = replace(roles, train=roles.train & ~copied, val=roles.val & ~copied)
    options = choose_validation(options, labels, train=roles.train, test=test)
    if roles.train.any() and not roles.val.any():
        val = _validation(sampler, roles.train, options) & ~copied
        roles = replace(roles, train=roles.train & ~np.isin(units, units[val]), val=val)
    table = _table(catalog, roles)
    return Split(table, options, find_left_out(catalog, table))


def _refuse_disjoint_classes(protocol: str, val_by: str) -> None:
    for key, found, by, allowed in (
        ("protocol", protocol, "class_disjoint", "auto, official, random, test_only"),
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
            "it: auto, class_disjoint, random, test_only"
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


def _test_only(labels: LabelSets) -> _Roles:
    """Return the roles where all images are in the gallery, and those with a match are queries.

    With one class alone, any result would be relevant, so nothing is a query.
    """
    nothing, everything = np.zeros(len(labels), dtype=bool), np.ones(len(labels), dtype=bool)
    query = labels.have_relevant(everything) if labels.values.max() > 0 else nothing
    return _Roles(train=nothing, val=nothing, query=query, gallery=everything)


def _require_two_classes(classes: Ints) -> None:
    count = len(np.unique(classes))
    if count < 2:
        raise UserError(
            f"split.protocol: found class_disjoint, but the dataset has {count} class; allowed: "
            "two classes or more (a small max_images leaves few), or split.protocol auto, random "
            "or test_only"
        )


def _validation(sampler: "_Sampler", train: Mask, options: SplitOptions) -> Mask:
    fraction = float(options.val_fraction)
    if options.val_by == "image":
        return sampler.images(train, fraction=fraction)
    if (count := len(np.unique(sampler.classes[train]))) < 2:
        raise UserError(
            f"split.val_by: found class, but {count} class is for training; allowed: image, auto"
        )
    return sampler.whole_classes(train, fraction=fraction)


@dataclass(frozen=True)
class _Sampler:
    """Samples from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image counts for. groups: its super-class. units: the
    first row with the same pixels; these images are sampled together, as one of the class of that
    row.
    """

    classes: Ints
    groups: Sequence[str | None]
    units: Ints
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
        wanted = min(max(round_half_up(fraction * len(labels)), 1), len(labels) - 1)
        sampled: list[int] = []
        carry = 0.0
        for group in self.rng.permutation(sorted(members)):
            # What rounding takes from one group, the next gets, so that the total is exact.
            carry += len(members[group]) * wanted / len(labels)
            count = round_half_up(carry)
            carry -= count
            sampled += self.rng.permutation(members[group])[:count].tolist()
        return among & np.isin(self.classes, sampled)

    def images(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: a share of the units of each class, at least two or none.

        The sampled images search one another, so a single one has nothing to find. Two images of
        the class remain too; so a class of fewer than four gives none.
        """
        sampled = np.zeros(len(self.classes), dtype=bool)
        first = np.zeros_like(sampled)  # of each unit, among these
        first[np.flatnonzero(among)[np.unique(self.units[among], return_index=True)[1]]] = True
        carry = 0.0
        for label in self.rng.permutation(np.unique(self.classes[among])):
            rows = np.flatnonzero(first & (self.classes == label))
            if len(rows) < 2 * FEWEST_TO_FIND:
                continue
            # What a small class is too small to give, the next class gives.
            carry += fraction * len(rows)
            count = min(round_half_up(carry), len(rows) - FEWEST_TO_FIND)
            if count >= FEWEST_TO_FIND:
                carry = min(carry - count, FEWEST_TO_FIND)
                sampled[self.rng.permutation(rows)[:count]] = True
        return among & np.isin(self.units, self.units[sampled])


def _table(catalog: pa.Table, roles: _Roles) -> pa.Table:
    held_out = np.where(roles.query | roles.gallery, "test", "unused")
    columns = {
        "image_id": catalog["image_id"].to_pylist(),
        "split": np.where(roles.train, "train", np.where(roles.val, "val", held_out)),
        "is_query": roles.query,
        "is_gallery": roles.gallery,
    }
    return pa.table(columns, schema=pa.schema(SPLITS.columns))
