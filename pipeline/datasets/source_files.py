"""The files of a source, without those that systems and devices add; links are followed."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

from pipeline.errors import UserError

# Never what a person put there; compared in lower case. Names with a dot in front are hidden too.
ADDED_BY_SYSTEMS = {
    # macOS, in zips and on servers
    "__macosx",
    "network trash folder",
    "temporary items",
    # Windows
    "$recycle.bin",
    "desktop.ini",
    "ehthumbs.db",
    "system volume information",
    "thumbs.db",
    # Linux
    "lost+found",
    # NAS of Synology and QNAP
    "#recycle",
    "#snapshot",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@tmp",
}


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored, with all that it holds."""
    return name.startswith(".") or name.lower() in ADDED_BY_SYSTEMS


def files_in(folder: Path) -> list[Path]:
    """Return the files directly in `folder`, sorted by name, hidden ones left out."""
    return _list(folder)[0]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in `folder`, sorted by name, hidden ones left out.

    So are links that lead back to `folder` or to a folder around it.
    """
    around = _around(folder)
    return [path for path in _list(folder)[1] if os.path.realpath(path) not in around]


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, hidden ones left out: sorted, files before folders.

    Links to files and to folders are followed. A folder that is met again, by a link, is not read a
    second time, and a link to a folder around this one is not followed.
    """
    yield from _walk(folder, _around(folder), set())


def _walk(folder: Path, around: frozenset[str], seen: set[str]) -> Iterator[Path]:
    files, folders = _list(folder)
    yield from files
    # Links come last, so that a file has the path without a link, if there is one.
    for inner in sorted(folders, key=Path.is_symlink):
        real = os.path.realpath(inner)
        if real in seen or real in around:
            continue
        seen.add(real)
        yield from _walk(inner, around | _around(inner) if inner.is_symlink() else around, seen)


def _around(folder: Path) -> frozenset[str]:
    """Return the real paths of `folder` and of the folders around it, as named and as they are."""
    absolute, real = folder.absolute(), Path(os.path.realpath(folder))
    return frozenset(map(os.path.realpath, (absolute, *absolute.parents, *real.parents)))


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((e.name, _is_folder(e)) for e in entries if not is_hidden(e.name))
    except OSError as error:
        raise UserError(
            f"{folder}: the folder cannot be read ({error.strerror}); allowed: folders that you "
            "may read; change its permissions, or move it elsewhere"
        ) from None
    files = [folder / name for name, is_folder in found if not is_folder]
    return files, [folder / name for name, is_folder in found if is_folder]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # DirEntry.is_dir fails on a link to itself.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def relative_name(path: Path, root: Path) -> str:
    """Return `path` relative to `root`, with forward slashes.

    Raises:
        UserError: it is not UTF-8.
    """
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{name.encode('utf-8', 'backslashreplace').decode()}: the name is not UTF-8; "
            "rename the file"
        ) from None
    return name


class NamedFiles:
    """The files below `root`, as a table names them.

    beside: another folder, inside `root`, that names may be relative to.
    """

    def __init__(self, root: Path, *, beside: Path | None = None) -> None:
        self.root = root
        self._bases = (os.path.abspath(root), os.path.realpath(root))
        self._folders = (
            [root.absolute()] if beside is None else [root.absolute(), beside.absolute()]
        )

    def inside(self, name: str) -> Path | None:
        """Return the path of `name`, relative to `root` or absolute, without '..'; None if it
        leads out of `root`."""
        for base in self._bases:
            path = Path(os.path.normpath(os.path.join(base, name)))
            if path.is_relative_to(base):
                return self.root / path.relative_to(base)
        return None

    def find(self, name: str) -> Path | None:
        """Return the file `name`, relative to `root` or absolute; None if there is none inside.

        Where there is no file of exactly this name, slashes may be backslashes, as Windows writes
        them, and accented letters one character or two (Unicode's NFC and NFD), as in names that
        macOS wrote.
        """
        forms = dict.fromkeys((name, name.replace("\\", "/")))
        for path in (self.inside(str(folder / form)) for form in forms for folder in self._folders):
            if path is None:
                continue
            if os.path.isfile(path):
                return path
            if other := self._by_nfc.get(normalize("NFC", str(path))):
                return other
        return None

    @cached_property
    def _by_nfc(self) -> dict[str, Path]:
        return {normalize("NFC", str(path)): path for path in walk_files(self.root)}
