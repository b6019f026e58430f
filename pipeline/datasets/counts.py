"""The official numbers of a dataset, against which what was found is checked."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.datasets.source_image import Picture
from pipeline.errors import UserError


class Part(NamedTuple):
    """What one part of a dataset holds: `groups` is 0 where the dataset has no super-classes."""

    images: int
    classes: int
    groups: int = 0

    def __str__(self) -> str:
        groups = f" in {self.groups:,} groups" if self.groups else ""
        return f"{self.images:,} pictures of {self.classes:,} classes{groups}"


def check_counts(
    pictures: Iterable[Picture], counts: Mapping[str, Part], *, where: str
) -> list[Picture]:
    """Return `pictures` as a list, each of whose parts holds what `counts` says.

    counts: by the roles of `Picture.source_split`. `where` names what was read.

    Raises:
        UserError: a part is larger or smaller, is missing, or is not in `counts`.
    """
    everything = list(pictures)
    found = count_parts(everything)
    for roles in sorted(counts.keys() | found.keys()):
        allowed = counts.get(roles, Part(0, 0))
        if found.get(roles, Part(0, 0)) != allowed:
            raise UserError(
                f"{where}: found {found.get(roles, Part(0, 0))} for {roles}; allowed: {allowed}, "
                "as published; get a whole copy, or read a part of it with data.name folder"
            )
    return everything


def count_parts(pictures: Iterable[Picture]) -> dict[str, Part]:
    """Return how much there is of each part, by the roles of `Picture.source_split`."""
    images: dict[str, int] = {}
    classes: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for picture in pictures:
        roles = str(picture.source_split)
        images[roles] = images.get(roles, 0) + 1
        classes.setdefault(roles, set()).update(picture.labels)
        groups.setdefault(roles, set()).update([picture.group] if picture.group else [])
    return {
        roles: Part(number, len(classes[roles]), len(groups[roles]))
        for roles, number in images.items()
    }
