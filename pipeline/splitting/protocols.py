"""The split of a dataset: which images train, validate, query, and are in the gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.data.tables import SPLITS
from pipeline.errors import UserError
from pipeline.health.duplicate_groups import group_equal
from pipeline.splitting.automatic import (
    AUTO,
    TEST_ONLY,
    SplitOptions,
    choose_validation,
    list_protocols,
)
from pipeline.splitting.left_out import LeftOut, find_left_out
from pipeline.splitting.sampling import Sampler

ONE_CLASS = (
    "all images are of one class, or of none, so there is nothing to tell apart; to train "
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
    class_names: Mapping[int, str] | None = None,
    health: pa.Table | None = None,
    published: bool = False,
) -> Split:
    """Return the split of `catalog`.

    What is sampled is sampled by its name, so new classes and images move none of the old, unless
    there are few (`sampling`), an `auto` then means something else, or a new image has the pixels
    of an old one.

    Images of the same pixels stay together in what is sampled of images. Where whole classes are
    sampled, an image for training is unused if it has the pixels of one that is held out, under
    another class. So it is in an official split, unless it is a `published` one, whose train and
    test images stay what they are, as scores are published of it.

    If images have several labels, the classes of train and test cannot be disjoint. Each image
    counts for its lowest label.

    Depends on `seed` and on the set of rows, not on their order.

    class_names: label -> name; None: the label. health: HEALTH of the images, or of some; None: no
    two have the same pixels.

    Raises:
        UserError: an option that is not `auto` does not fit the dataset, or a class has no name.
    """
    catalog = catalog.sort_by("image_id")
    labels = label_sets(catalog["labels"])
    units = _find_units(catalog, health)
    if not labels.single:
        _refuse_disjoint_classes(options.protocol, options.val_by)
    classes = labels.first().astype(np.int64)
    names = _name_classes(np.unique(classes), class_names)
    sampler = Sampler(catalog["image_id"].to_pylist(), classes, names, units, seed)
    split_by = partial(_split, catalog, labels, sampler=sampler, published=published)
    if options.protocol != AUTO:
        return split_by(options)
    has_roles = bool(pc.any(pc.not_equal(catalog["source_split"], "")).as_py())
    why: list[str] = []
    for protocol in list_protocols(labels, has_roles=has_roles):
        split = split_by(replace(options, protocol=protocol))
        left_out = split.left_out
        if left_out.enough_to_train and not left_out.against_choosing:
            return split
        if protocol != TEST_ONLY:
            why = left_out.against_training + left_out.against_measuring
            why = why or left_out.against_choosing
    if has_roles and split.left_out.against_measuring:
        return split  # which is an obstacle: its roles are not to be changed in silence
    one_class = len(np.unique(labels.values)) == 1
    return _untrained(split, catalog, [ONE_CLASS] if one_class else why)


def _name_classes(labels: Ints, names: Mapping[int, str] | None) -> dict[int, str]:
    if names is None:
        return {int(label): str(label) for label in labels}
    for label in labels:
        if int(label) not in names:
            raise UserError(
                f"data/classes.parquet: label {label} has no name; run: dvc repro download"
            )
    return {int(label): names[int(label)] for label in labels}


def _untrained(split: Split, catalog: pa.Table, why: list[str]) -> Split:
    """Return the split with its queries and gallery alone."""
    query, gallery = (
        split.table[name].to_numpy(zero_copy_only=False) for name in ("is_query", "is_gallery")
    )
    none = np.zeros_like(query)
    return replace(split, table=_table(catalog, _Roles(none, none, query, gallery)), untrained=why)


def _find_units(catalog: pa.Table, health: pa.Table | None) -> Ints:
    """Return int64 [N]: for each image of the catalog, the first row that has the same pixels."""
    ids = catalog["image_id"].combine_chunks()
    if health is None:
        return np.arange(len(ids))
    rows = pc.index_in(ids, value_set=health["image_id"].combine_chunks())
    # A group has the image_id of one of its images.
    names = pc.coalesce(health["exact_group"].combine_chunks().take(rows), ids)
    return group_equal(names)


def _split(
    catalog: pa.Table,
    labels: LabelSets,
    options: SplitOptions,
    *,
    sampler: Sampler,
    published: bool,
) -> Split:
    classes, units = sampler.classes, sampler.units
    everything = np.ones(len(classes), dtype=bool)
    if options.protocol == "official":
        source_split = catalog["source_split"].to_pylist()
        roles = _official(source_split, image_ids=catalog["image_id"].to_pylist())
    elif options.protocol == "class_disjoint":
        _require_two_classes(classes)
        test = sampler.whole_classes(everything, fraction=options.test_fraction, role="test")
        roles = _train_and_test(test)
    elif options.protocol == "random":
        # Of few images, half an image is for training and validation, where there are fewer.
        share = options.test_fraction
        test = sampler.images(everything, fraction=share, role="test", half_up=False)
        roles = _train_and_test(test)
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


def _validation(sampler: Sampler, train: Mask, options: SplitOptions) -> Mask:
    fraction = float(options.val_fraction)
    if options.val_by == "image":
        return sampler.images(train, fraction=fraction, role="val", half_up=True)
    if (count := len(np.unique(sampler.classes[train]))) < 2:
        raise UserError(
            f"split.val_by: found class, but {count} class is for training; allowed: image, auto"
        )
    return sampler.whole_classes(train, fraction=fraction, role="val")


def _table(catalog: pa.Table, roles: _Roles) -> pa.Table:
    held_out = np.where(roles.query | roles.gallery, "test", "unused")
    columns = {
        "image_id": catalog["image_id"].to_pylist(),
        "split": np.where(roles.train, "train", np.where(roles.val, "val", held_out)),
        "is_query": roles.query,
        "is_gallery": roles.gallery,
    }
    return pa.table(columns, schema=pa.schema(SPLITS.columns))
