"""The symbolic links of an archive: made last, and only if each leads to something of it."""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.packing.archive_errors import member_error, name_as_user_error

LINK_BYTES = 4096  # of a target: PATH_MAX of Linux
LINKS_DEEP = 40  # Linux follows no more


@dataclass(frozen=True)
class Link:
    """A symbolic link of an archive, checked: it points to a path inside the folder."""

    name: str
    target: str


def make_links(links: Mapping[str, Link], folder: Path, *, archive: Path) -> None:
    """Make the links, if all of them lead to something. links: by their normalized names."""
    targets = _LinkTargets(links, folder)
    for name, link in links.items():
        if any(targets.is_link(str(parent)) for parent in PurePosixPath(name).parents[:-1]):
            raise member_error(archive, link.name, found="is in a folder that is a link")
        try:
            target, _ = targets.follow(name)
            if not os.path.lexists(folder / target):
                raise _BadLinkError("to no file")
        except _BadLinkError as error:
            found = f"is a link {error}, '{link.target}'"
            raise member_error(archive, link.name, found=found) from None
    for link in links.values():
        path = folder / link.name
        with name_as_user_error(link.name, archive=archive):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(link.target)


class _BadLinkError(Exception):
    """Where a symbolic link leads that must not."""


class _LinkTargets:
    """Where symbolic links lead, through other links of the archive.

    By their names alone, and each link once: `os.path.realpath` would follow a chain again for
    each of its links.
    """

    def __init__(self, links: Mapping[str, Link], folder: Path) -> None:
        self.links, self.folder = links, folder
        self.known: dict[str, tuple[str, int]] = {}

    def is_link(self, path: str) -> bool:
        """Whether it is one of `links`, or of an archive that was unpacked here before."""
        return path in self.links or (self.folder / path).is_symlink()

    def follow(self, name: str, depth: int = 1) -> tuple[str, int]:
        """Return (the path in the folder that the link `name` leads to, through how many links).

        Raises:
            _BadLinkError: it leads out of the folder, or through more than LINKS_DEEP.
        """
        if name not in self.known:
            self.known[name] = name, 1  # of a circle: here is no file
            self.known[name] = self._resolve(name, depth)
        found = self.known[name]
        if found[1] > LINKS_DEEP:
            raise _BadLinkError(f"through more than {LINKS_DEEP} links")
        return found

    def _resolve(self, name: str, depth: int) -> tuple[str, int]:
        path, followed = posixpath.dirname(name), 1
        if depth > LINKS_DEEP:
            return path, depth
        for part in self.links[name].target.split("/"):
            if part in (".", ""):
                continue
            if part == ".." and not path:
                raise _BadLinkError("to a path outside")
            path = posixpath.dirname(path) if part == ".." else posixpath.join(path, part)
            if path in self.links:
                path, more = self.follow(path, depth + 1)
                followed += more
            elif self.is_link(path):
                raise _BadLinkError("through a link of another archive")
        return path, followed
