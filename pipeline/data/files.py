"""Files and folders written whole or not at all, so that a kill leaves no half-written one."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a path beside each of `paths` to write a file or a folder to; at the end of the body
    they replace `paths` together.

    A file is replaced in one step. Several are replaced in turn, and a folder is removed before
    that: a kill in that moment leaves some of them missing or old, but none half written.
    The parent folders are made. If the body fails, what it has written is removed, and `paths` stay
    as they were. Each file keeps the permissions that it was created with.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "made" / "a.txt"
    ...     with written_whole(path) as (unfinished,):
    ...         _ = unfinished.write_text("all of it")
    ...     path.read_text(), [each.name for each in path.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    unfinished = tuple(path.with_name(path.name + ".part") for path in paths)
    for part in unfinished:
        part.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)  # an earlier process may have been killed
    try:
        yield unfinished
        replace_all(unfinished, paths)
    finally:
        for part in unfinished:
            _remove(part)


def replace_all(unfinished: Sequence[Path], paths: Sequence[Path]) -> None:
    """Move each of `unfinished` to its place among `paths`, on the same disk."""
    for part, path in zip(unfinished, paths, strict=True):
        if path.is_dir():  # no system call replaces a folder that is not empty
            shutil.rmtree(path)
        os.replace(part, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
