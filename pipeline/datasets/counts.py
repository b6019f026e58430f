"""The official numbers of images, classes and groups of a dataset, and their check."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError


class SplitCounts(NamedTuple):
    """What one split of a dataset holds: `groups` is 0 where the dataset has no super-classes."""

    images: int
    classes: int
    groups: int = 0

    def __str__(self) -> str:
        groups = f" in {self.groups:,} groups" if self.groups else ""
        return f"{self.images:,} images of {self.classes:,} classes{groups}"


def check_counts(
    images: Iterable[SourceImage], counts: Mapping[str, SplitCounts], *, where: str
) -> list[SourceImage]:
    """Return `images` as a list, if each split has the numbers of `counts`.

    counts: by the roles of `SourceImage.source_split`. where: what was read, for the error text.

    Raises:
        UserError: a split is larger or smaller, is missing, or is not in `counts`.
    """
    everything = list(images)
    found = count_splits(everything)
    for roles in sorted(counts.keys() | found.keys()):
        allowed = counts.get(roles, SplitCounts(0, 0))
        if found.get(roles, SplitCounts(0, 0)) != allowed:
            raise UserError(
                f"{where}: found {found.get(roles, SplitCounts(0, 0))} for {roles}; "
                f"allowed: {allowed}, "
                "as published; get a whole copy, or read a part of it with data.name folder"
            )
    return everything


def count_splits(images: Iterable[SourceImage]) -> dict[str, SplitCounts]:
    """Return the numbers of each split, by the roles of `SourceImage.source_split`."""
    numbers: dict[str, int] = {}
    classes: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for image in images:
        roles = str(image.source_split)
        numbers[roles] = numbers.get(roles, 0) + 1
        classes.setdefault(roles, set()).update(image.labels)
        groups.setdefault(roles, set()).update([image.group] if image.group else [])
    return {
        roles: SplitCounts(number, len(classes[roles]), len(groups[roles]))
        for roles, number in numbers.items()
    }
