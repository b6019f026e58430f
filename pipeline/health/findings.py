"""What is told of a dataset: its faulty images, its duplicates, and those that leak."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.health.image_faults import IMAGE_FAULTS

HELD_APART, UNUSED = ("train", "val", "test"), "unused"
KINDS = {"exact": "exact_group", "near": "near_group"}
NAMED = 2
ROWS_AT_ONCE = 4096
Groups = dict[str, list[list[str]]]  # kind -> the image_ids of each group of duplicates


@dataclass(frozen=True)
class Finding:
    """Images of which one thing is told: the image_ids of each group; of single images, one."""

    what: str
    groups: list[list[str]]

    @property
    def images(self) -> int:
        """The number of images in all groups."""
        return sum(map(len, self.groups))

    def describe(self) -> str:
        """Return a line: how many there are, and the first of them."""
        first = "; ".join(
            ", ".join(f"'{image_id}'" for image_id in group[:NAMED])
            + (f" and {len(group) - NAMED} more" if len(group) > NAMED else "")
            for group in self.groups[:NAMED]
        )
        count = _count(self.images, "image")
        if self.images > len(self.groups):
            count = f"{_count(len(self.groups), 'group')} of {count}"
        return f"{self.what}: {count}, first {first}"


def find_in_images(health: pa.Table, catalog: pa.Table) -> list[Finding]:
    """Return what is found in HEALTH and CATALOG, each kind once, also those without images."""
    groups_of = group_duplicates(health)
    labels = _labels_of(catalog, groups_of)
    findings = []
    for kind, groups in groups_of.items():
        findings += [
            Finding(f"{kind} duplicates", groups),
            _across(f"{kind} duplicates across classes", groups, labels),
        ]
    faulty: dict[str, list[list[str]]] = {what: [] for what in IMAGE_FAULTS}
    for row in _iterate_joined(health.sort_by("image_id"), catalog):
        for what, is_fault in IMAGE_FAULTS.items():
            if is_fault(row):
                faulty[what].append([row["image_id"]])
    return findings + [Finding(what, images) for what, images in faulty.items()]


def _iterate_joined(health: pa.Table, catalog: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield what both tables say of each image of `health`."""
    rows = pc.index_in(health["image_id"], value_set=catalog["image_id"].combine_chunks())
    for start in range(0, len(health), ROWS_AT_ONCE):
        # Of some at a time, as dicts are large.
        of_health = health.slice(start, ROWS_AT_ONCE).to_pylist()
        of_catalog = catalog.take(rows.slice(start, ROWS_AT_ONCE)).to_pylist()
        for one, other in zip(of_catalog, of_health, strict=True):
            yield one | other


@dataclass(frozen=True)
class DuplicateGroup:
    """A group of duplicates: exact or near, and whether it has several classes or splits."""

    kind: str
    image_ids: list[str]
    across_classes: bool
    across_splits: bool


def list_groups(health: pa.Table, catalog: pa.Table, splits: pa.Table) -> list[DuplicateGroup]:
    """Return all groups of duplicates: first those across classes, then those across splits."""
    groups_of = group_duplicates(health)
    labels, split_of = _labels_of(catalog, groups_of), _split_of(splits, groups_of)
    groups = [
        DuplicateGroup(kind, group, _differ(group, labels), _differ(group, split_of))
        for kind, of_kind in groups_of.items()
        for group in of_kind
    ]
    return sorted(groups, key=lambda group: (not group.across_classes, not group.across_splits))


def find_leaks(health: pa.Table, splits: pa.Table) -> list[Finding]:
    """Return the groups of duplicates that are in more than one of train, val and test.

    And the images that are unused because they would be.
    """
    groups_of = group_duplicates(health)
    split_of = _split_of(splits, groups_of)
    copies = {i for group in groups_of["exact"] if any(i in split_of for i in group) for i in group}
    unused = [
        [i] for i, name in _values_of("split", splits, groups_of) if name == UNUSED and i in copies
    ]
    return [
        *(
            _across(f"{kind} duplicates across train, val and test", groups, split_of)
            for kind, groups in groups_of.items()
        ),
        Finding("unused (an exact duplicate is in val or test)", unused),
    ]


def group_duplicates(health: pa.Table) -> Groups:
    """Return kind -> image_ids of each group of duplicates in HEALTH; all sorted."""
    found = {}
    for kind, column in KINDS.items():
        grouped = health.select(["image_id", column]).filter(pc.is_valid(health[column]))
        ordered = grouped.sort_by("image_id")
        groups: dict[str, list[str]] = {}
        for image_id, group in zip(*(each.to_pylist() for each in ordered.columns), strict=True):
            groups.setdefault(group, []).append(image_id)
        found[kind] = list(groups.values())
    return found


def _across(what: str, groups: list[list[str]], value_of: Mapping[str, Hashable]) -> Finding:
    """Return those of the groups in which images differ in their values, if they have one."""
    across = [group for group in groups if _differ(group, value_of)]
    return Finding(what, [[i for i in group if i in value_of] for group in across])


def _differ(group: list[str], value_of: Mapping[str, Hashable]) -> bool:
    return len({value_of[image_id] for image_id in group if image_id in value_of}) > 1


def _labels_of(catalog: pa.Table, groups_of: Groups) -> dict[str, Hashable]:
    return {i: tuple(labels) for i, labels in _values_of("labels", catalog, groups_of)}


def _split_of(splits: pa.Table, groups_of: Groups) -> dict[str, Hashable]:
    """Return image_id -> train, val or test; an unused image is in none of them."""
    return {i: name for i, name in _values_of("split", splits, groups_of) if name in HELD_APART}


def _values_of(column: str, table: pa.Table, groups_of: Groups) -> list[tuple[str, Any]]:
    """Return (image_id, value) of the images that are in a group, in the order of the table."""
    grouped = {i for groups in groups_of.values() for group in groups for i in group}
    is_grouped = pc.is_in(table["image_id"], value_set=pa.array(grouped, pa.string()))
    some = table.select(["image_id", column]).filter(is_grouped)
    return list(zip(*(each.to_pylist() for each in some.columns), strict=True))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
