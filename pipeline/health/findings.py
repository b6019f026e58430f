"""What is told of a dataset: its faulty images, its duplicates, and those that leak."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.health.image_faults import IMAGE_FAULTS

HELD_APART, UNUSED = ("train", "val", "test"), "unused"
KINDS = {"exact": "exact_group", "near": "near_group"}
NAMED = 2


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
    labels = _labels_of(catalog)
    about = {row["image_id"]: row for row in catalog.to_pylist()}
    rows = [about[row["image_id"]] | row for row in health.sort_by("image_id").to_pylist()]
    findings = []
    for kind, groups in group_duplicates(health).items():
        findings += [
            Finding(f"{kind} duplicates", groups),
            _across(f"{kind} duplicates across classes", groups, labels),
        ]
    for what, is_fault in IMAGE_FAULTS.items():
        findings.append(Finding(what, [[row["image_id"]] for row in rows if is_fault(row)]))
    return findings


@dataclass(frozen=True)
class DuplicateGroup:
    """A group of duplicates: exact or near, and whether it has several classes or splits."""

    kind: str
    image_ids: list[str]
    across_classes: bool
    across_splits: bool


def list_groups(health: pa.Table, catalog: pa.Table, splits: pa.Table) -> list[DuplicateGroup]:
    """Return all groups of duplicates: first those across classes, then those across splits."""
    labels, split_of = _labels_of(catalog), _split_of(splits)
    groups = [
        DuplicateGroup(kind, group, _differ(group, labels), _differ(group, split_of))
        for kind, of_kind in group_duplicates(health).items()
        for group in of_kind
    ]
    return sorted(groups, key=lambda group: (not group.across_classes, not group.across_splits))


def find_leaks(health: pa.Table, splits: pa.Table) -> list[Finding]:
    """Return the groups of duplicates that are in more than one of train, val and test.

    And the images that are unused because they would be.
    """
    ids, names = splits["image_id"].to_pylist(), splits["split"].to_pylist()
    split_of = _split_of(splits)
    groups_of = group_duplicates(health)
    copies = {i for group in groups_of["exact"] if any(i in split_of for i in group) for i in group}
    unused = [[i] for i, name in zip(ids, names, strict=True) if name == UNUSED and i in copies]
    return [
        *(
            _across(f"{kind} duplicates across train, val and test", groups, split_of)
            for kind, groups in groups_of.items()
        ),
        Finding("unused (an exact duplicate is in val or test)", unused),
    ]


def group_duplicates(health: pa.Table) -> dict[str, list[list[str]]]:
    """Return kind -> image_ids of each group of duplicates in HEALTH; all sorted."""
    ordered = health.sort_by("image_id")
    ids = ordered["image_id"].to_pylist()
    found = {}
    for kind, column in KINDS.items():
        groups: dict[str, list[str]] = {}
        for image_id, group in zip(ids, ordered[column].to_pylist(), strict=True):
            if group is not None:
                groups.setdefault(group, []).append(image_id)
        found[kind] = list(groups.values())
    return found


def _across(what: str, groups: list[list[str]], value_of: Mapping[str, Hashable]) -> Finding:
    """Return those of the groups in which images differ in their values, if they have one."""
    across = [group for group in groups if _differ(group, value_of)]
    return Finding(what, [[i for i in group if i in value_of] for group in across])


def _differ(group: list[str], value_of: Mapping[str, Hashable]) -> bool:
    return len({value_of[image_id] for image_id in group if image_id in value_of}) > 1


def _labels_of(catalog: pa.Table) -> dict[str, Hashable]:
    ids, labels = catalog["image_id"].to_pylist(), catalog["labels"].to_pylist()
    return {image_id: tuple(each) for image_id, each in zip(ids, labels, strict=True)}


def _split_of(splits: pa.Table) -> dict[str, Hashable]:
    """Return image_id -> train, val or test; an unused image is in none of them."""
    ids, names = splits["image_id"].to_pylist(), splits["split"].to_pylist()
    return {i: name for i, name in zip(ids, names, strict=True) if name in HELD_APART}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
